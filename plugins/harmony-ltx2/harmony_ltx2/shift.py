"""The sampling times of LTX-2."""

from __future__ import annotations

import math

import attrs
from attrs.validators import ge, lt
from torch import Tensor

from harmony_parts.plugin import knob

FEW, MANY = (1024, 0.95), (4096, 2.05)  # video tokens, and the logarithm of the shift for as many
SCHEDULER = "LTX-2's scheduler in diffusers"


@attrs.frozen
class LTX2Shift:
    """u = t / (t + (1 - t) e^-mu), then stretched away from 1 so that the last time before 0, that of t = 1 / steps, is `terminal`.

    mu rises with the video's tokens T h w: 0.95 for 1024, 2.05 for 4096, and on along that line. Below t = 1 / steps, where the sampler
    doesn't go, times fall evenly to 0. These are the times of diffusers' FlowMatchEulerDiscreteScheduler as LTX2Pipeline sets it up.
    """

    tokens: int = knob(
        4096, help="latents of the video times their height and width; more of them move times further", unit="tokens", source=SCHEDULER,
        validator=ge(1),
    )  # fmt: skip
    steps: int = knob(
        30, help="steps of the sampler, whose last one begins at `terminal`", unit="steps", source="LTX2Pipeline", validator=ge(1)
    )
    terminal: float = knob(
        0.1, help="the time from which the last step is taken", off=0.0, source=SCHEDULER, converter=float, validator=[ge(0), lt(1)]
    )

    def __call__(self, t: Tensor) -> Tensor:
        """The shifted times, of the shape of `t`."""
        (few, low), (many, high) = FEW, MANY
        near = math.exp(-low - (self.tokens - few) * (high - low) / (many - few))
        u = t / (t + (1 - t) * near)
        if not self.terminal or self.steps == 1:  # a single step begins at 1
            return u
        last = 1 / (1 + (self.steps - 1) * near)  # u of 1 / steps
        stretched = 1 - (1 - u) * (1 - self.terminal) / (1 - last)
        return stretched.where(t >= 1 / self.steps, self.terminal * self.steps * t)
