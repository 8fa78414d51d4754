"""Local cross-attention: every query frame attends to a window of key frames.

A frame is the tokens that share one latent's time: S_v spatial tokens of a video latent, one of an
audio latent. One operator serves both directions: video attending to audio has Tq = T_v, Sq = H W,
Tk = T_a, Sk = 1; audio attending to video has Tq = T_a, Sq = 1, Tk = T_v, Sk = H W.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import attrs
from torch import Tensor

if TYPE_CHECKING:
    import torch


@attrs.frozen(eq=False)
class Windows:
    """The window of key frames of each query frame, and the inverse: ranges [first, end).

    Make them with `Windows.of`. Sizes are Python numbers, computed with the windows, so that no
    backend has to wait for a device to learn them.
    """

    of_query: Tensor  # int32 [Tq, 2]: the key frames in the window of a query frame
    of_key: Tensor  # int32 [Tk, 2]: the query frames whose window has a key frame
    most_keys: int  # in the window of one query frame
    most_queries: int  # whose window has the same key frame

    @classmethod
    def of(cls, start: Tensor, end: Tensor, keys: int) -> Windows:
        """Windows [start, end) over `keys` key frames, from integers [Tq] that never decrease.

        Empty windows are allowed. Sizes are computed on the CPU; the tables are on the device of
        `start`. Raises ValueError if windows decrease, end before they start, or leave 0 .. `keys`.
        """
        import torch

        own = torch.stack((start, end), 1).to("cpu", torch.int64)
        if (
            (own.diff(dim=0) < 0).any()
            or (own < 0).any()
            or (own > keys).any()
            or (own[:, 0] > own[:, 1]).any()
        ):
            raise ValueError(
                f"windows must be ranges [start, end) within 0 .. {keys}, and neither start nor end"
                " may decrease from one query frame to the next"
            )
        # key frame j is in a window if start <= j < end: the first condition holds for queries up
        # to some index, the second from some index on
        at = torch.arange(keys)
        first = torch.searchsorted(own[:, 1].contiguous(), at, right=True)
        inverse = torch.stack(
            (first, torch.searchsorted(own[:, 0].contiguous(), at, right=True).maximum(first)), 1
        )
        most = [int((pair[:, 1] - pair[:, 0]).max()) if len(pair) else 0 for pair in (own, inverse)]
        return cls(own.int(), inverse.int(), *most).to(start.device)

    def to(self, device: torch.device | str) -> Windows:
        """The windows with their tables on that device."""
        return attrs.evolve(self, of_query=self.of_query.to(device), of_key=self.of_key.to(device))

    @property
    def start(self) -> Tensor:
        """int32 [Tq]: the first key frame in each window."""
        return self.of_query[:, 0]

    @property
    def end(self) -> Tensor:
        """int32 [Tq]: one past the last key frame in each window."""
        return self.of_query[:, 1]

    def mask(self, keys: int) -> Tensor:
        """bool [Tq, keys]: whether a key frame is in a query frame's window."""
        import torch

        j = torch.arange(keys, device=self.of_query.device)
        return (j >= self.of_query[:, :1]) & (j < self.of_query[:, 1:])


class LocalAttention(Protocol):
    """A backend of local cross-attention; stateless, so it is its own spec.

    It never reads a tensor's value on the host, so that it can be traced and run on the meta
    device.
    """

    def __call__(
        self, q: Tensor, k: Tensor, v: Tensor, windows: Windows, q_angles: Tensor, k_angles: Tensor
    ) -> Tensor:
        """softmax(rot(q) rot(k)^T / sqrt(d)) v within each window; an empty window gives 0.

        `q` [B, Tq, Sq, h, d], `k` and `v` [B, Tk, Sk, h, d] -> [B, Tq, Sq, h, d]. `q_angles` [Tq,
        d/2] and `k_angles` [Tk, d/2] (float32) rotate the interleaved pairs (2i, 2i+1) of q and k:
        one temporal position per frame (paper, section 3: RoPE-aligned attention). Raises
        ValueError if it can't run with these inputs or on their device.
        """
