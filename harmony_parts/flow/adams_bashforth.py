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

    Each stream has its own t and r. Second order with one velocity per step. It extrapolates the
    last two velocities to the middle of the step, for steps of any length; the first step is
    Euler's. A velocity that changes because guidance is switched on or off between two steps is
    extrapolated, too.
    """

    order = 2

    def step(
        self,
        x: AV[Tensor],
        times: AV[float],
        next_times: AV[float],
        velocity: Velocity,
        memory: Any = None,
    ) -> tuple[AV[Tensor], Any]:
        """x at `next_times`; streams without a velocity stay unchanged. Stores times, velocity."""
        here = velocity(x, times)
        middle = here
        if memory is not None:
            last_times, last = memory

            def at_middle(
                v: Tensor, before: Tensor, t: float, t_next: float, t_last: float
            ) -> Tensor:
                r = (t_next - t) / (2 * (t - t_last))
                return v + r * (v - before)

            middle = here.map(at_middle, last, times, next_times, last_times)
        return x.replace(**{s: x[s] + (next_times[s] - times[s]) * middle[s] for s in middle}), (
            times,
            here,
        )
