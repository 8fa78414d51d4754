"""The sampling times of LTX-2."""

from __future__ import annotations

import math

import attrs
from attrs.validators import ge, lt
from torch import Tensor

from harmony_parts.plugin import knob

FEW, MANY = (1024, 0.95), (4096, 2.05)  # (video tokens, mu): two points of a line
SCHEDULER = "LTX-2's scheduler in diffusers"


@attrs.frozen
class LTX2Shift:
    """u = t / (t + (1 - t) e^-mu), stretched so that the sampler's last step begins at `terminal`.

    mu is linear in the video's tokens T h w: 0.95 for 1024, 2.05 for 4096. These are the times of
    diffusers' FlowMatchEulerDiscreteScheduler with LTX2Pipeline's settings.
    """

    tokens: int = knob(
        4096,
        help="video latents times their height and width; more tokens, more shift",
        unit="tokens",
        source=SCHEDULER,
        validator=ge(1),
    )
    terminal: float = knob(
        0.1,
        help="time at which the last step begins",
        off=0.0,
        source=SCHEDULER,
        converter=float,
        validator=[ge(0), lt(1)],
    )

    def __call__(self, t: Tensor) -> Tensor:
        """The shifted times, of the shape of `t`, without the stretching."""
        (few, low), (many, high) = FEW, MANY
        return t / (
            t + (1 - t) * math.exp(-low - (self.tokens - few) * (high - low) / (many - few))
        )

    def for_steps(self, steps: int) -> LTX2Shift | Stretched:
        """The stretched shift, which maps 1 / steps to `terminal`; a single step begins at 1."""
        return Stretched(self, steps) if self.terminal and steps > 1 else self


@attrs.frozen
class Stretched:
    """An LTX2Shift for a number of steps; linear below t = 1 / steps, which the sampler skips."""

    shift: LTX2Shift
    steps: int

    def __call__(self, t: Tensor) -> Tensor:
        """The shifted times, of the shape of `t`."""
        terminal, first = self.shift.terminal, 1 / self.steps
        last = self.shift(t.new_tensor(first))
        stretched = 1 - (1 - self.shift(t)) * (1 - terminal) / (1 - last)
        return stretched.where(t >= first, terminal * self.steps * t)
