"""How long a recording is."""

from __future__ import annotations

import attrs
import torch

from harmony_parts.av import AV
from harmony_parts.data.protocol import Example
from harmony_parts.plugin import knob


@attrs.frozen
class Length:
    """Drops recordings shorter than `shortest` or longer than `longest`.

    A file shorter than the model's clips is filled up with its last frame and silence: this filter
    leaves it out. If a data set doesn't know its recordings' lengths, those of its clips count.
    """

    shortest: float = knob(
        0.0, help="shortest recording", unit="s", off=0.0, validator=attrs.validators.ge(0)
    )
    longest: float = knob(
        0.0,
        help="longest recording; 0 for any",
        unit="s",
        off=0.0,
        validator=attrs.validators.ge(0),
    )
    reads = ()

    def build(self, *, device: torch.device | str = "cpu") -> Length:
        """This object."""
        return self

    def analyse(self, example: Example) -> AV[float]:
        """The seconds of the recording."""
        known = example.seconds
        return AV(audio=example.clip.seconds if known is None else known)

    def fault(self, video: object, audio: float) -> str | None:
        """Too short or too long."""
        if audio < self.shortest:
            return f"is shorter than {self.shortest:g} s"
        if self.longest and audio > self.longest:
            return f"is longer than {self.longest:g} s"
        return None
