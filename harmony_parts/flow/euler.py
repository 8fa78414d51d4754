"""Euler's method."""

from __future__ import annotations

from typing import Any

import attrs
from torch import Tensor

from harmony_parts.av import AV
from harmony_parts.flow.protocol import Velocity


@attrs.frozen
class Euler:
    """x(t') = x(t) + (t' - t) v(x(t), t): one velocity per step, exact for straight paths."""

    order = 1

    def step(
        self, x: AV[Tensor], t: float, t_next: float, velocity: Velocity, memory: Any = None
    ) -> tuple[AV[Tensor], Any]:
        """x at `t_next`; streams without a velocity stay unchanged. Stores nothing."""
        moved = velocity(x, t).map(lambda v, at: at + (t_next - t) * v, x)
        return x.replace(**{stream: moved[stream] for stream in moved}), memory
