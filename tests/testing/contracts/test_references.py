"""Faulty references are found."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import torch

from harmony_parts.errors import PartContractError
from harmony_parts.references.own_cut import OwnCut
from harmony_parts.references.protocol import Piece, Recordings
from harmony_parts.testing.contracts.references import check_reference


@attrs.frozen
class Faulty:
    """A reference with one fault."""

    fault: str

    def draw(self, target: Piece, recordings: Recordings, generator: torch.Generator) -> Any:
        piece = OwnCut().draw(target, recordings, generator)
        whole = recordings[target.recording].seconds
        if self.fault == "more draws" and whole > 5:
            torch.rand((), generator=generator)
        if self.fault == "global":
            return attrs.evolve(piece, end=piece.begin + float(torch.rand(())) * 1e-3)
        return {
            "tuple": (piece.begin, piece.end),
            "outside": attrs.evolve(piece, end=whole + 1),
            "empty": attrs.evolve(piece, end=piece.begin),
            "unknown": attrs.evolve(piece, recording=99),
        }.get(self.fault, piece)


class NoValue:
    """Compared by identity."""

    def draw(self, *arguments: Any) -> None:
        return None


@pytest.mark.parametrize(
    ("reference", "must"),
    [
        (NoValue(), "be compared by value"),
        (Faulty("more draws"), "as much randomness for every clip"),
        (Faulty("global"), "the same piece from the same state|from torch's global one"),
        (Faulty("tuple"), "draw a Piece"),
        (Faulty("outside"), "inside its recording"),
        (Faulty("empty"), "inside its recording"),
        (Faulty("unknown"), "of one of the recordings, not of 99"),
    ],
)
def test_a_broken_reference_is_found(reference: Any, must: str) -> None:
    with pytest.raises(PartContractError, match=must):
        check_reference(reference)
