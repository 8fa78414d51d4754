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
    """u = t / (t + (1 - t) e^-mu), for the sampler stretched away from 1 so that its last step
    begins at `terminal`.

    mu rises with the video's tokens T h w: 0.95 for 1024, 2.05 for 4096, and on along that line.
    These are the times of diffusers' FlowMatchEulerDiscreteScheduler as LTX2Pipeline sets it up.
    """

    tokens: int = knob(
        4096,
        help="latents of the video times their height and width; more of them move times further",
        unit="tokens",
        source=SCHEDULER,
        validator=ge(1),
    )
    terminal: float = knob(
        0.1,
        help="the time from which the last step is taken",
        off=0.0,
        source=SCHEDULER,
        converter=float,
        validator=[ge(0), lt(1)],
    )

    def __call__(self, t: Tensor) -> Tensor:
        """The shifted times before they are stretched, of the shape of `t`."""
        (few, low), (many, high) = FEW, MANY
        return t / (
            t + (1 - t) * math.exp(-low - (self.tokens - few) * (high - low) / (many - few))
        )

    def for_steps(self, steps: int) -> LTX2Shift | Stretched:
        """The shift whose time for 1 / steps is `terminal`; a single step begins at 1."""
        return Stretched(self, steps) if self.terminal and steps > 1 else self


@attrs.frozen
class Stretched:
    """An LTX2Shift for a number of steps. Below t = 1 / steps, where the sampler doesn't go, times
    fall evenly to 0.
    """

    shift: LTX2Shift
    steps: int

    def __call__(self, t: Tensor) -> Tensor:
        """The shifted times, of the shape of `t`."""
        terminal, first = self.shift.terminal, 1 / self.steps
        last = self.shift(t.new_tensor(first))
        stretched = 1 - (1 - self.shift(t)) * (1 - terminal) / (1 - last)
        return stretched.where(t >= first, terminal * self.steps * t)
