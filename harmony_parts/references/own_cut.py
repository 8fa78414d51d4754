"""A random cut of the clip's own recording, which may contain the clip itself (stage 1)."""

from __future__ import annotations

import attrs
import torch

from harmony_parts.references.lengths import draws, placed, seconds_knob
from harmony_parts.references.protocol import Piece, Recordings


@attrs.frozen
class OwnCut:
    """A cut from anywhere in the clip's recording; a shorter recording is taken whole.

    With clips as long as their files it always overlaps its target: it teaches what a reference
    is, and copying. So the paper uses it only in its first stage.
    """

    seconds: tuple[float, float] = seconds_knob()

    def draw(self, target: Piece, recordings: Recordings, generator: torch.Generator) -> Piece:
        """A piece of the target's own recording."""
        _, length, position = draws(generator)
        whole = recordings[target.recording].seconds
        shortest, longest = self.seconds
        begin, end = placed([(0.0, whole)], (min(shortest, whole), longest), length, position) or (
            0.0,
            whole,
        )
        return Piece(target.recording, begin, end)
