"""Local attention in a higher precision."""

from __future__ import annotations

from typing import Literal

import attrs
import torch
from torch import Tensor

from harmony_parts.attention.protocol import LocalAttention, Windows
from harmony_parts.plugin import default_part, knob


@attrs.frozen
class Upcast:
    """Run `inner` in `dtype`, or in the inputs' dtype if that is wider.

    The result has the inputs' dtype. Compare runs of a bfloat16 model with and without it to
    measure the error of rounding inside attention.
    """

    inner: LocalAttention = knob(
        default_part("harmony_parts.attention.eager:Eager"), help="the backend to run"
    )
    dtype: Literal["float32", "float64"] = knob(
        "float32",
        help="the dtype of the computation",
        validator=attrs.validators.in_(("float32", "float64")),
    )

    def __call__(
        self, q: Tensor, k: Tensor, v: Tensor, windows: Windows, q_angles: Tensor, k_angles: Tensor
    ) -> Tensor:
        """The result of `inner`, in the dtype of `q`."""
        wide = torch.promote_types(q.dtype, getattr(torch, self.dtype))
        return self.inner(q.to(wide), k.to(wide), v.to(wide), windows, q_angles, k_angles).to(
            q.dtype
        )
