"""Local attention in a wider type."""

from __future__ import annotations

from typing import Literal

import attrs
import torch
from torch import Tensor

from harmony_parts.attention.protocol import LocalAttention, Windows
from harmony_parts.plugin import default_part, knob


@attrs.frozen
class Upcast:
    """`inner` on queries, keys and values in `dtype`, or in their own type where that is wider; the
    result is in theirs.

    With a model in bfloat16 it tells what the rounding inside attention costs: compare a run with
    it to one without.
    """

    inner: LocalAttention = knob(
        default_part("harmony_parts.attention.eager:Eager"), help="the backend that computes"
    )
    dtype: Literal["float32", "float64"] = knob(
        "float32",
        help="the type to compute in",
        validator=attrs.validators.in_(("float32", "float64")),
    )

    def __call__(
        self, q: Tensor, k: Tensor, v: Tensor, windows: Windows, q_angles: Tensor, k_angles: Tensor
    ) -> Tensor:
        """See `LocalAttention`."""
        wide = torch.promote_types(q.dtype, getattr(torch, self.dtype))
        return self.inner(q.to(wide), k.to(wide), v.to(wide), windows, q_angles, k_angles).to(
            q.dtype
        )
