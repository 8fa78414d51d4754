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

    e is the result of Euler's method at t', so a step takes two velocities. The last step is
    Euler's, because there is no velocity at time 0; a single such step doesn't change the order.
    """

    order = 2

    def step(
        self, x: AV[Tensor], t: float, t_next: float, velocity: Velocity, memory: Any = None
    ) -> tuple[AV[Tensor], Any]:
        """x at `t_next`; streams without a velocity stay unchanged. Stores nothing."""
        here = velocity(x, t)
        euler = _moved(x, t_next - t, here)
        if not t_next:
            return euler, memory
        both = here.map(lambda a, b: a + b, velocity(euler, t_next))
        return _moved(x, (t_next - t) / 2, both), memory


def _moved(x: AV[Tensor], by: float, velocity: AV[Tensor]) -> AV[Tensor]:
    return x.replace(**{stream: x[stream] + by * velocity[stream] for stream in velocity})
