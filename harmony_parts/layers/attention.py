"""Multi-head attention: projections with RMS-normed queries and keys, and attention itself."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harmony_parts.layers.linear import Linear
from harmony_parts.layers.lora import full_weight


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(d)) v.

    q [B, N, h, d], k and v [B, M, h, d], mask bool [B, M] of the keys that count -> [B, N, h, d].
    """
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    out = F.scaled_dot_product_attention(
        q, k, v, attn_mask=None if mask is None else mask[:, None, None, :]
    )
    return out.transpose(1, 2)


class Heads(nn.Module):
    """Query, key, value and output projections of multi-head attention.

    q and k are RMS-normed over the full width, across heads, as in Wan. `source` is the width of
    the keys' and values' input, if it isn't `width`.
    """

    def __init__(self, width: int, heads: int, source: int | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.o = Linear(width, width), Linear(width, width)
        self.k, self.v = Linear(source or width, width), Linear(source or width, width)
        self.norm_q, self.norm_k = nn.RMSNorm(width, eps=1e-6), nn.RMSNorm(width, eps=1e-6)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1))

    def query(self, x: Tensor) -> Tensor:
        """[..., D] -> [..., h, d]."""
        return self._split(self.norm_q(self.q(x)))

    def keys(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[..., source] -> key and value, [..., h, d] each."""
        return self._split(self.norm_k(self.k(x))), self._split(self.v(x))

    def out(self, x: Tensor) -> Tensor:
        """[..., h, d] -> [..., D]."""
        return self.o(x.flatten(-2))

    def out_without_bias(self, x: Tensor) -> Tensor:
        """`out` without its bias: for a second term of a sum, in which the bias counts once."""
        return F.linear(x.flatten(-2), full_weight(self.o))


def modulation_start(width: int) -> nn.Parameter:
    """A layer's learned modulation [6, D]: shift, scale, gate of attention and of feed-forward."""
    return nn.Parameter(torch.randn(6, width) / width**0.5)
