"""References: where they are cut from, what they never contain, and when there is none."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harmony_parts.references.first_of import FirstOf
from harmony_parts.references.non_overlapping import NonOverlapping
from harmony_parts.references.other_utterance import OtherUtterance
from harmony_parts.references.own_cut import OwnCut
from harmony_parts.references.protocol import Piece, Recordings, VoiceReference
from harmony_parts.testing.contracts.references import RECORDINGS, check_reference

PAPER = FirstOf((OtherUtterance(), NonOverlapping()))


def draws(reference: VoiceReference, target: Piece, count: int = 300) -> list[Piece | None]:
    random = torch.Generator().manual_seed(0)
    return [reference.draw(target, RECORDINGS, random) for _ in range(count)]


def found(reference: VoiceReference, target: Piece) -> list[Piece]:
    pieces = draws(reference, target)
    assert None not in pieces
    return [piece for piece in pieces if piece is not None]


@pytest.mark.parametrize(
    "reference", [OwnCut(), OwnCut((0.05, 0.2)), NonOverlapping(), OtherUtterance(), PAPER]
)
def test_references_keep_the_contract(reference: VoiceReference) -> None:
    check_reference(reference)


@given(
    whole=st.floats(0.1, 60),
    at=st.floats(0, 1),
    length=st.floats(0.1, 10),
    shortest=st.floats(0.05, 3),
    more=st.floats(0, 5),
    seed=st.integers(0, 2**32),
)
def test_a_cut_beside_the_clip_has_nothing_of_it(
    whole: float, at: float, length: float, shortest: float, more: float, seed: int
) -> None:
    """It is there if and only if one side is long enough."""
    begin = at * max(0.0, whole - length)
    target = Piece(0, begin, min(whole, begin + length))
    recordings = Recordings(["a"], [None], lambda number: whole)
    reference = NonOverlapping((shortest, shortest + more))
    piece = reference.draw(target, recordings, torch.Generator().manual_seed(seed))
    assert (piece is not None) == (max(target.begin, whole - target.end) >= shortest)
    if piece is not None:
        assert piece.end <= target.begin or piece.begin >= target.end
        assert shortest - 1e-9 <= piece.seconds <= shortest + more + 1e-9


def test_cuts_beside_the_clip_come_from_both_sides_by_their_room() -> None:
    """Of 30 s with a clip from 10 s to 12 s; a side has its length less that of the cut."""
    pieces = found(NonOverlapping((1.0, 1.0)), Piece(5, 10.0, 12.0))
    before = sum(piece.end <= 10.0 for piece in pieces)
    share, chance = before / len(pieces), 9 / 26
    assert abs(share - chance) < 4 * (chance * (1 - chance) / len(pieces)) ** 0.5
    assert all(piece.begin >= 12.0 for piece in pieces if piece.end > 10.0)


def test_own_cuts_are_of_the_whole_recording_and_overlap_their_clip() -> None:
    pieces = found(OwnCut(), Piece(5, 0.0, 30.0))
    assert min(piece.begin for piece in pieces) < 1
    assert max(piece.end for piece in pieces) > 29
    assert all(1 <= piece.seconds <= 3 for piece in pieces)
    assert {(piece.begin, piece.end) for piece in found(OwnCut(), Piece(6, 0.0, 0.1))} == {
        (0.0, 0.1)
    }


def test_another_utterance_is_of_the_same_speaker_in_another_file() -> None:
    """Recordings 0 and 1 are one file; 3 is too short; bob and the rain have no other."""
    assert {piece.recording for piece in found(OtherUtterance(), Piece(0, 0.0, 2.0))} == {2}
    assert {piece.recording for piece in found(OtherUtterance(), Piece(2, 0.0, 2.0))} == {0, 1}
    assert set(draws(OtherUtterance(), Piece(4, 0.0, 2.0))) == {None}
    assert set(draws(OtherUtterance(), Piece(5, 0.0, 2.0))) == {None}


def test_the_first_reference_that_there_is_counts() -> None:
    assert {piece.recording for piece in found(PAPER, Piece(0, 0.0, 2.0))} == {2}
    assert {piece.recording for piece in found(PAPER, Piece(4, 0.0, 2.0))} == {4}
    assert set(draws(PAPER, Piece(6, 0.0, 0.1))) == {None}


@pytest.mark.parametrize("value", [(0.0, 1.0), (2.0, 1.0), (1.0,)])
@pytest.mark.parametrize("part", [OwnCut, NonOverlapping, OtherUtterance])
def test_invalid_lengths_are_refused(part: Any, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{part.__name__}.seconds must be"):
        part(value)
