"""Euler's method."""

from __future__ import annotations

from typing import Any

import attrs
from torch import Tensor

from harmony_parts.av import AV
from harmony_parts.flow.protocol import Velocity


@attrs.frozen
class Euler:
    """x(t') = x(t) + (t' - t) v(x(t), t), with each stream's own t and t'.

    One velocity per step; exact for straight paths.
    """

    order = 1

    def step(
        self,
        x: AV[Tensor],
        times: AV[float],
        next_times: AV[float],
        velocity: Velocity,
        memory: Any = None,
    ) -> tuple[AV[Tensor], Any]:
        """x at `next_times`; streams without a velocity stay unchanged. Stores nothing."""
        v = velocity(x, times)
        return x.replace(**{s: x[s] + (next_times[s] - times[s]) * v[s] for s in v}), memory
