"""Local cross-attention: every query frame attends to a window of key frames. One operator serves
both directions.

Frame = the tokens that share one latent's time: S_v spatial tokens in a video latent, one in an
audio latent. Video reading audio has Tq = T_v, Sq = H W, Tk = T_a, Sk = 1; audio reading video has
Tq = T_a, Sq = 1, Tk = T_v, Sk = H W.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import attrs
from torch import Tensor

if TYPE_CHECKING:
    import torch


@attrs.frozen(eq=False)
class Windows:
    """Which key frames each query frame sees, and which query frames see each key frame: ranges
    [first, end), made by `Windows.of`.

    Sizes are numbers of Python's, known when windows are made, so that no backend asks a device for
    one.
    """

    of_query: Tensor  # int32 [Tq, 2]: the key frames that a query frame sees
    of_key: Tensor  # int32 [Tk, 2]: the query frames that see a key frame
    most_keys: int  # that one query frame sees
    most_queries: int  # that see one key frame

    @classmethod
    def of(cls, start: Tensor, end: Tensor, keys: int) -> Windows:
        """Windows [start, end) over `keys` key frames: integers [Tq] each, neither ever decreasing.
        Empty ones are legal.

        Sizes are found on the CPU; the tables are where `start` is. ValueError where windows
        decrease, end before they start, or leave 0 .. `keys`.
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
                f"windows must be ranges [start, end) within 0 .. {keys}, neither end of which ever"
                " decreases"
            )
        # key frame j is seen where start <= j < end. The first holds for a beginning of all
        # queries, the second for an end of them.
        at = torch.arange(keys)
        first = torch.searchsorted(own[:, 1].contiguous(), at, right=True)
        inverse = torch.stack(
            (first, torch.searchsorted(own[:, 0].contiguous(), at, right=True).maximum(first)), 1
        )
        most = [int((pair[:, 1] - pair[:, 0]).max()) if len(pair) else 0 for pair in (own, inverse)]
        return cls(own.int(), inverse.int(), *most).to(start.device)

    def to(self, device: torch.device | str) -> Windows:
        """The tables on that device."""
        return attrs.evolve(self, of_query=self.of_query.to(device), of_key=self.of_key.to(device))

    @property
    def start(self) -> Tensor:
        """int32 [Tq]: the first key frame that a query frame sees."""
        return self.of_query[:, 0]

    @property
    def end(self) -> Tensor:
        """int32 [Tq]: the one after the last."""
        return self.of_query[:, 1]

    def mask(self, keys: int) -> Tensor:
        """bool [Tq, keys]: True where a query frame sees a key frame."""
        import torch

        j = torch.arange(keys, device=self.of_query.device)
        return (j >= self.of_query[:, :1]) & (j < self.of_query[:, 1:])


class LocalAttention(Protocol):
    """Stateless: its own spec. Nothing that it does asks a device for a number, so that it can be
    traced, and run on the meta device.
    """

    def __call__(
        self, q: Tensor, k: Tensor, v: Tensor, windows: Windows, q_angles: Tensor, k_angles: Tensor
    ) -> Tensor:
        """softmax(rot(q) rot(k)^T / sqrt(d)) v within each window; an empty window gives 0.

        `q` [B, Tq, Sq, h, d], `k` and `v` [B, Tk, Sk, h, d] -> [B, Tq, Sq, h, d]. `q_angles` [Tq,
        d/2] and `k_angles` [Tk, d/2] (float32) turn the interleaved pairs (2i, 2i+1) of q and k:
        one temporal position per frame (paper, section 3: RoPE-aligned attention). Raises
        ValueError where it can't run, on a device that isn't its own.
        """
