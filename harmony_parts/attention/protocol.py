"""Local cross-attention: every query frame attends to a window of key frames. One operator serves both directions.

Frame = the tokens that share one latent's time: S_v spatial tokens in a video latent, one in an audio latent. Video reading audio has
Tq = T_v, Sq = H W, Tk = T_a, Sk = 1; audio reading video has Tq = T_a, Sq = 1, Tk = T_v, Sk = H W.
"""

from __future__ import annotations

from typing import Protocol

import attrs
import torch
from torch import Tensor


@attrs.frozen(eq=False)
class Windows:
    """Which key frames each query frame sees: [start, end) per query frame, int64 [Tq] each, neither ever decreasing. Empty windows are legal."""

    start: Tensor
    end: Tensor

    def to(self, device: torch.device) -> Windows:
        """The same on another device."""
        return Windows(self.start.to(device), self.end.to(device))

    def mask(self, keys: int) -> Tensor:
        """bool [Tq, keys]: True where a query frame sees a key frame."""
        j = torch.arange(keys, device=self.start.device)
        return (j >= self.start[:, None]) & (j < self.end[:, None])


class LocalAttention(Protocol):
    """Stateless: its own spec."""

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, windows: Windows, q_angles: Tensor, k_angles: Tensor) -> Tensor:
        """softmax(rot(q) rot(k)^T / sqrt(d)) v within each window; an empty window gives 0.

        `q` [B, Tq, Sq, h, d], `k` and `v` [B, Tk, Sk, h, d] -> [B, Tq, Sq, h, d]. `q_angles` [Tq, d/2] and `k_angles` [Tk, d/2] (float32)
        turn the interleaved pairs (2i, 2i+1) of q and k: one temporal position per frame (paper, section 3: RoPE-aligned attention).
        """
