"""Clips: pictures and sound of the same time span, read from and written to real files.

Shapes: T frames of H x W pixels, 3 colours (RGB); C sound channels of S samples.
"""

from __future__ import annotations

from fractions import Fraction

import attrs
import torch
from torch import Tensor


@attrs.frozen(eq=False)
class Clip:
    """Pictures and sound of the same time span; either may be absent (`None`), which is not the same as black or mute.

    `frames` uint8 [T, H, W, 3] (RGB, T >= 1), shown at the constant rate `fps` (frames a second, exact): frame i lasts from i/fps to (i+1)/fps.
    `waveform` float32 [channels, samples] in -1..1 at `sample_rate` Hz; sample j is at j/sample_rate. Both begin at 0 s.
    Raises ValueError where a field has another shape or type.
    """

    frames: Tensor | None
    fps: Fraction = attrs.field(converter=Fraction)
    waveform: Tensor | None = None
    sample_rate: int = 48000

    def __attrs_post_init__(self) -> None:
        if self.fps <= 0:
            raise ValueError(f"Clip.fps must be above 0, not {self.fps}")
        if isinstance(self.sample_rate, bool) or not isinstance(self.sample_rate, int) or self.sample_rate <= 0:
            raise ValueError(f"Clip.sample_rate must be a whole number of Hz above 0, not {self.sample_rate!r}")
        if self.frames is None and self.waveform is None:
            raise ValueError("a Clip needs frames, a waveform, or both")
        _check("frames", self.frames, torch.uint8, "[T, H, W, 3] with T, H, W >= 1", lambda s: len(s) == 4 and s[3] == 3 and min(s) >= 1)
        _check("waveform", self.waveform, torch.float32, "[channels, samples] with channels >= 1", lambda s: len(s) == 2 and s[0] >= 1)

    @property
    def seconds(self) -> float:
        """How long the clip lasts: its frames, or, without frames, its sound."""
        if self.frames is not None:
            return float(len(self.frames) / self.fps)
        assert self.waveform is not None
        return self.waveform.shape[1] / self.sample_rate

    def mono(self) -> Tensor:
        """[samples] float32: the mean of the channels. Raises ValueError where the clip has no sound."""
        if self.waveform is None:
            raise ValueError("this Clip has no sound")
        return self.waveform.mean(dim=0)


def _check(field: str, value: object, dtype: torch.dtype, want: str, fits) -> None:  # noqa: ANN001
    if value is None:
        return
    if not isinstance(value, Tensor):
        raise ValueError(f"Clip.{field} must be a torch tensor {want} of {dtype}, not {type(value).__name__}")
    if value.dtype != dtype or not fits(tuple(value.shape)):
        raise ValueError(f"Clip.{field} must be {want} of {dtype}, not {list(value.shape)} of {value.dtype}")
