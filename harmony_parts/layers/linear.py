"""Layers whose input may have another type than their weights.

The residual stream may be float32 while weights are bfloat16.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Precision = Literal["float32", "weights"]
"""The type in which the residual stream, its norms and its modulation are computed: at least
float32 as in Wan2.2, or the type of the weights as in Ovi.
"""


def widen(x: Tensor, precision: Precision) -> Tensor:
    """Convert `x` to float32 if `precision` is "float32" and its type is narrower."""
    return x.to(torch.promote_types(x.dtype, torch.float32)) if precision == "float32" else x


class Linear(nn.Linear):
    """A linear map that computes in the type of its weights, or in float32 if `precision` is
    "float32".

    float32 is for inputs of few rows.
    """

    def __init__(self, source: int, width: int, precision: Precision = "weights") -> None:
        super().__init__(source, width)
        self.precision = precision

    def forward(self, x: Tensor) -> Tensor:
        """[..., source] -> [..., width]."""
        weight, bias = widen(self.weight, self.precision), widen(self.bias, self.precision)
        return F.linear(x.to(weight.dtype), weight, bias)


class LayerNorm(nn.LayerNorm):
    """A layer norm that computes in the type of its input."""

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] -> [..., D]."""
        weight, bias = (None if p is None else p.to(x.dtype) for p in (self.weight, self.bias))
        return F.layer_norm(x, self.normalized_shape, weight, bias, self.eps)


def plain_norm(width: int) -> LayerNorm:
    """A layer norm without weights, for modulation to follow."""
    return LayerNorm(width, eps=1e-6, elementwise_affine=False)


def mlp(source: int, hidden: int, width: int) -> nn.Sequential:
    """A two-layer MLP: linear, GELU (tanh approximation), linear."""
    return nn.Sequential(Linear(source, hidden), nn.GELU(approximate="tanh"), Linear(hidden, width))
