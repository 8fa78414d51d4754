"""The two-step Adams-Bashforth method."""

from __future__ import annotations

from typing import Any

import attrs
from torch import Tensor

from harmony_parts.av import AV
from harmony_parts.flow.protocol import Velocity


@attrs.frozen
class AdamsBashforth:
    """x(t') = x(t) + (t' - t) (v + r (v - v_last)), with r = (t' - t) / (2 (t - t_last)).

    Second order with one velocity per step. It extrapolates the last two velocities to the middle
    of the step, for steps of any length; the first step is Euler's. A velocity that changes because
    guidance is switched on or off between two steps is extrapolated, too.
    """

    order = 2

    def step(
        self, x: AV[Tensor], t: float, t_next: float, velocity: Velocity, memory: Any = None
    ) -> tuple[AV[Tensor], Any]:
        """x at `t_next`; streams without a velocity stay unchanged. Stores time and velocity."""
        here = velocity(x, t)
        middle = here
        if memory is not None:
            t_last, last = memory
            r = (t_next - t) / (2 * (t - t_last))
            middle = here.map(lambda v, before: v + r * (v - before), last)
        return x.replace(
            **{stream: x[stream] + (t_next - t) * middle[stream] for stream in middle}
        ), (t, here)
