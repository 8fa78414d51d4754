"""The time shift of flow-matching models."""

from __future__ import annotations

import attrs
from torch import Tensor

from harmony_parts.plugin import knob


@attrs.frozen
class ConstantShift:
    """t' = s t / (1 + (s - 1) t) (Esser et al., arXiv:2403.03206, eq. 23).

    Applying two shifts multiplies their s.
    """

    shift: float = knob(
        5.0,
        help="strength of the move towards noise; below 1, towards data",
        off=1.0,
        source="arXiv:2511.21579, training and sampling",
        converter=float,
        validator=attrs.validators.gt(0),
    )

    def __call__(self, t: Tensor) -> Tensor:
        """The shifted times, of the shape of `t`."""
        # The equation with both sides of the fraction divided by s. In this form t = 0, t = 1 and
        # s = 1 are exact in floating point.
        return t / (t + (1 - t) / self.shift)
