"""The first of several references that a clip has."""

from __future__ import annotations

import attrs
import torch

from harmony_parts.plugin import knob
from harmony_parts.references.protocol import Piece, Recordings, VoiceReference


@attrs.frozen
class FirstOf:
    """Tries references in order, such as another utterance and then a cut beside the clip.

    All of them draw, so that the amount of randomness is the same for every clip.
    """

    references: tuple[VoiceReference, ...] = knob(
        help="references to try, the best one first",
        converter=tuple,
        validator=attrs.validators.min_len(1),
    )

    def draw(
        self, target: Piece, recordings: Recordings, generator: torch.Generator
    ) -> Piece | None:
        """The piece of the first reference that finds one."""
        found = [each.draw(target, recordings, generator) for each in self.references]
        return next((piece for piece in found if piece is not None), None)
