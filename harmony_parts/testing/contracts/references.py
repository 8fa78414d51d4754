"""Contract check of references."""

from __future__ import annotations

import torch

from harmony_parts.references.protocol import Piece, Recording, Recordings, VoiceReference
from harmony_parts.testing.contracts.require import (
    check_value,
    generator,
    no_global_randomness,
    require,
)

ALL = (
    Recording("ann-1.wav", 9.0, "ann"),
    Recording("ann-1.wav", 9.0, "ann"),  # the same file again, with another caption
    Recording("ann-2.wav", 4.0, "ann"),
    Recording("ann-3.wav", 0.01, "ann"),
    Recording("bob.wav", 6.0, "bob"),
    Recording("rain.wav", 30.0),
    Recording("click.wav", 0.1),
)
RECORDINGS = Recordings(
    [each.file for each in ALL], [each.speaker for each in ALL], lambda number: ALL[number].seconds
)
DRAWS = 8  # per target


def check_reference(reference: VoiceReference) -> None:
    """Draw references for clips at the start, in the middle and at the end of recordings.

    Recordings are long and short, with speakers and without, and one file has two. Checked: a value
    that is compared and hashed as such; a piece inside its recording, or `None`; the same piece for
    the same state of the generator; as much randomness in every call, and none from the global
    generator. Raises PartContractError.
    """
    check_value(reference)
    states = []
    with no_global_randomness(reference):
        for target in targets(RECORDINGS):
            for seed in range(DRAWS):
                random, again = generator(seed), generator(seed)
                piece = reference.draw(target, RECORDINGS, random)
                _check_piece(reference, piece)
                require(
                    piece == reference.draw(target, RECORDINGS, again),
                    reference,
                    "draw the same piece from the same state of the generator",
                )
                states.append((seed, random.get_state()))
    first = dict(reversed(states))
    require(
        all(torch.equal(state, first[seed]) for seed, state in states),
        reference,
        "draw as much randomness for every clip, so that clips don't depend on those before them",
    )


def targets(recordings: Recordings) -> list[Piece]:
    """Clips of 2 s at the start, in the middle and at the end of each recording, or all of it."""
    wholes = [recordings[number].seconds for number in range(len(recordings))]
    return [
        Piece(number, begin, min(begin + 2.0, whole))
        for number, whole in enumerate(wholes)
        for begin in sorted({0.0, max(0.0, whole / 2 - 1), max(0.0, whole - 2)})
    ]


def _check_piece(reference: VoiceReference, piece: object) -> None:
    if piece is None:
        return
    require(isinstance(piece, Piece), reference, "draw a Piece, or `None`")
    assert isinstance(piece, Piece)
    right = isinstance(piece.recording, int) and 0 <= piece.recording < len(RECORDINGS)
    require(right, reference, f"draw a piece of one of the recordings, not of {piece.recording!r}")
    whole = RECORDINGS[piece.recording].seconds
    require(
        0 <= piece.begin < piece.end <= whole + 1e-9,
        reference,
        f"draw a piece inside its recording of {whole:g} s; it drew {piece.begin:g} to"
        f" {piece.end:g} s",
    )
