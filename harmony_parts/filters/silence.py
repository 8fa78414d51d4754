"""How much of a clip is silent."""

from __future__ import annotations

import attrs
import torch

from harmony_parts.av import AV
from harmony_parts.data.protocol import Example
from harmony_parts.filters.levels import window_levels
from harmony_parts.plugin import knob


@attrs.frozen
class Silence:
    """Drops clips of which more than `share` is quieter than `level`, in windows of 50 ms.

    A clip without sound is silent throughout.
    """

    share: float = knob(
        0.8,
        help="largest share of silent windows",
        off=1.0,
        validator=[attrs.validators.ge(0), attrs.validators.le(1)],
    )
    level: float = knob(
        -50.0, help="a window is silent below it", unit="dBFS", validator=attrs.validators.le(0)
    )
    reads = ("audio",)

    def build(self, *, device: torch.device | str = "cpu") -> Silence:
        """This object."""
        return self

    def analyse(self, example: Example) -> AV[float]:
        """The share of silent windows."""
        sound = example.clip.waveform
        if sound is None or not sound.numel():
            return AV()
        levels = window_levels(sound, example.clip.sample_rate)
        return AV(audio=float((levels < self.level).double().mean()))

    def fault(self, video: object, audio: float | None) -> str | None:
        """Too much silence."""
        silent = 1.0 if audio is None else audio
        return f"is silent for more than {self.share:.0%}" if silent > self.share else None
