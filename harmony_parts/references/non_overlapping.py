"""A cut of the clip's own recording that has nothing of the clip (stage 2, for sounds)."""

from __future__ import annotations

import attrs
import torch

from harmony_parts.references.lengths import draws, placed, seconds_knob
from harmony_parts.references.protocol import Piece, Recordings


@attrs.frozen
class NonOverlapping:
    """A cut from before or after the clip; none if neither side is long enough."""

    seconds: tuple[float, float] = seconds_knob()

    def draw(
        self, target: Piece, recordings: Recordings, generator: torch.Generator
    ) -> Piece | None:
        """A piece of the target's recording that ends before it or begins after it."""
        _, length, position = draws(generator)
        sides = [(0.0, target.begin), (target.end, recordings[target.recording].seconds)]
        found = placed(sides, self.seconds, length, position)
        return None if found is None else Piece(target.recording, *found)
