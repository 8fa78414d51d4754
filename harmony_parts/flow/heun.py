"""Heun's method."""

from __future__ import annotations

from typing import Any

import attrs
from torch import Tensor

from harmony_parts.av import AV
from harmony_parts.flow.protocol import Velocity


@attrs.frozen
class Heun:
    """x(t') = x(t) + (t' - t) (v(x(t), t) + v(e, t')) / 2, e being Euler's x(t'): two velocities a
    step (Karras et al., arXiv:2206.00364).

    The last step is Euler's, for there is no velocity at time 0; one such step leaves the order as
    it is.
    """

    order = 2

    def step(
        self, x: AV[Tensor], t: float, t_next: float, velocity: Velocity, memory: Any = None
    ) -> tuple[AV[Tensor], Any]:
        """x at `t_next`; streams that `velocity` leaves out stay as they are. Remembers nothing."""
        here = velocity(x, t)
        there = _moved(x, t_next - t, here)
        if t_next:
            there = _moved(
                x, (t_next - t) / 2, here.map(lambda a, b: a + b, velocity(there, t_next))
            )
        return there, memory


def _moved(x: AV[Tensor], by: float, velocity: AV[Tensor]) -> AV[Tensor]:
    return x.replace(**{stream: x[stream] + by * velocity[stream] for stream in velocity})
