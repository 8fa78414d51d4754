"""Whether a clip has sound at all."""

from __future__ import annotations

import attrs
import torch

from harmony_parts.av import AV
from harmony_parts.data.protocol import Example
from harmony_parts.filters.levels import QUIET, decibels
from harmony_parts.plugin import knob


@attrs.frozen
class SoundPresent:
    """Drops clips without sound, or whose highest sample is below a level."""

    level: float = knob(
        -60.0,
        help="lowest peak that counts as sound",
        unit="dBFS",
        off=QUIET,
        validator=attrs.validators.le(0),
    )
    reads = ("audio",)

    def build(self, *, device: torch.device | str = "cpu") -> SoundPresent:
        """This object."""
        return self

    def analyse(self, example: Example) -> AV[float]:
        """The peak in dBFS."""
        sound = example.clip.waveform
        if sound is None or not sound.numel():
            return AV()
        return AV(audio=float(decibels(sound.abs().max())))

    def fault(self, video: object, audio: float | None) -> str | None:
        """No sound, or none above the level."""
        if audio is None:
            return "has no sound"
        return f"is below {self.level:g} dBFS throughout" if audio < self.level else None
