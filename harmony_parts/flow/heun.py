"""Heun's method."""

from __future__ import annotations

from typing import Any

import attrs
from torch import Tensor

from harmony_parts.av import AV
from harmony_parts.flow.protocol import Velocity


@attrs.frozen
class Heun:
    """x(t') = x(t) + (t' - t) (v(x(t), t) + v(e, t')) / 2 (Karras et al., arXiv:2206.00364).

    Each stream has its own t and t'. e is the result of Euler's method at t', so a step takes two
    velocities. The last step is Euler's, because there is no velocity at time 0; a single such step
    doesn't change the order.
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
        """x at `next_times`; streams without a velocity stay unchanged. Stores nothing."""
        by = times.map(lambda t, t_next: t_next - t, next_times)
        here = velocity(x, times)
        euler = _moved(x, by, here)
        if not all(next_times[stream] for stream in here):
            return euler, memory
        both = here.map(lambda a, b: a + b, velocity(euler, next_times))
        return _moved(x, by.map(lambda dt: dt / 2), both), memory


def _moved(x: AV[Tensor], by: AV[float], velocity: AV[Tensor]) -> AV[Tensor]:
    return x.replace(**{stream: x[stream] + by[stream] * velocity[stream] for stream in velocity})
