"""The straight path of rectified flow."""

from __future__ import annotations

import attrs
from torch import Tensor


@attrs.frozen
class StraightPath:
    """x_t = (1 - t) x + t n, velocity n - x (Liu et al., arXiv:2209.03003); exact at both ends."""

    def interpolate(self, data: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """x_t, of the shape of `data`; `t` broadcasts."""
        return (1 - t) * data + t * noise

    def velocity(self, data: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """dx_t/dt = n - x, independent of `t`."""
        return noise - data

    def data(self, x: Tensor, velocity: Tensor, t: Tensor | float) -> Tensor:
        """x = x_t - t v."""
        return x - t * velocity
