"""The sampling times of diffusers' FlowMatchEulerDiscreteScheduler."""

from __future__ import annotations

import attrs
from torch import Tensor

from harmony_parts.flow.shift import ConstantShift
from harmony_parts.plugin import knob

LOW = 0.001  # the lowest of the scheduler's 1000 times of training


@attrs.frozen
class FlowMatchShift:
    """t' = s t / (1 + (s - 1) t), over times that are spread as that scheduler spreads them.

    The sampler's steps begin at 1, and at equal distances down to the shifted 0.001, before they
    are shifted; the last one goes from there to 0. In training it is the plain shift. Source:
    diffusers' FlowMatchEulerDiscreteScheduler without sigmas of the caller's own.
    """

    shift: float = knob(
        1.0,
        help="strength of the move towards noise",
        off=1.0,
        source="the model's scheduler_config.json",
        converter=float,
        validator=attrs.validators.gt(0),
    )

    def __call__(self, t: Tensor) -> Tensor:
        """The shifted times, of the shape of `t`, without the spread."""
        return ConstantShift(self.shift)(t)

    def for_steps(self, steps: int) -> FlowMatchShift | Spread:
        """The shift of the spread times; a single step goes from 1 to 0."""
        return Spread(self, steps) if steps > 1 else self


@attrs.frozen
class Spread:
    """A FlowMatchShift for a number of steps; linear below t = 1 / steps, which no step begins at.

    1 - k / steps becomes 1 - k / (steps - 1) (1 - low), and is then shifted.
    """

    shift: FlowMatchShift
    steps: int

    def __call__(self, t: Tensor) -> Tensor:
        """The shifted times, of the shape of `t`."""
        low, first = self.shift(t.new_tensor(LOW)), 1 / self.steps
        spread = 1 - (1 - t) * self.steps / (self.steps - 1) * (1 - low)
        last = self.shift(low)
        return self.shift(spread.clamp(min=0)).where(t > first - 1e-9, last * self.steps * t)
