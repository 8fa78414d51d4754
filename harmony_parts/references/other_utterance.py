"""A cut of another recording of the same speaker (stage 2, for speech)."""

from __future__ import annotations

import attrs
import torch

from harmony_parts.references.lengths import draws, placed, seconds_knob
from harmony_parts.references.protocol import Piece, Recordings


@attrs.frozen
class OtherUtterance:
    """A cut of another file with the clip's speaker; none without a speaker or another file."""

    seconds: tuple[float, float] = seconds_knob()

    def draw(
        self, target: Piece, recordings: Recordings, generator: torch.Generator
    ) -> Piece | None:
        """A piece of a recording of the same speaker that isn't of the target's file."""
        which, length, position = draws(generator)
        others = recordings.others_of_speaker(target.recording)
        first = int(which * len(others))
        for number in (*others[first:], *others[:first]):  # the next one that is long enough
            whole = recordings[number].seconds
            if found := placed([(0.0, whole)], self.seconds, length, position):
                return Piece(number, *found)
        return None
