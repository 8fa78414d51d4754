"""Sequence parallelism: processes that share the tokens of a video (Ulysses, arXiv:2309.14509).

Each has the same part of every latent's tokens, and computes it in all layers. Where a token meets
all others, processes exchange their tokens of all heads for all tokens of some heads, so that any
attention runs as it is on its heads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import attrs
import torch
from torch import Tensor

from harmony_parts.layers.attention import attend


@attrs.frozen(eq=False)
class VideoShare:
    """The part of a video's tokens that process `rank` of `size` has; of one process, all.

    All processes call these functions in the same order. Each function is linear, and its backward
    pass is its adjoint over all processes. So if every process minimises its summand of a loss, the
    gradients summed over the processes are those of the loss.

    `all_to_all` sends row i of a tensor [size, ...] to process i, and returns the rows that are
    received, by sender. Its backward pass is itself.
    """

    rank: int = 0
    size: int = 1
    all_to_all: Callable[[Tensor], Tensor] = lambda rows: rows

    def take(self, x: Tensor, dim: int) -> Tensor:
        """The own part along `dim` of a tensor that every process has whole."""
        return x.chunk(self.size, dim)[self.rank] if self.size > 1 else x

    def join(self, x: Tensor, dim: int) -> Tensor:
        """The parts of all processes along `dim`, in their order."""
        if self.size == 1:
            return x
        rows = x.expand(self.size, *x.shape).contiguous()
        return torch.cat(self.all_to_all(rows).unbind(), dim)

    def exchange(self, x: Tensor, *, split: int, join: int) -> Tensor:
        """All processes' tensors joined along `join`, of which this one gets its part of `split`.

        The dimension `split` must be a multiple of `size`.
        """
        if self.size == 1:
            return x
        rows = torch.stack(x.chunk(self.size, split))
        return torch.cat(self.all_to_all(rows).unbind(), join)


WHOLE = VideoShare()


@runtime_checkable
class SharesVideo(Protocol):
    """A denoiser, or a part of one, that can compute a part of the video's tokens."""

    def share_video(self, share: VideoShare) -> None:
        """From now on the hidden states of the video [B, T, S / n, D] are those of `share`.

        Raises ValueError, with the reason, if they can't be divided so.
        """


def check_divides(count: int, what: str, share: VideoShare) -> None:
    """Raise ValueError unless so many of `what` can be divided among the processes."""
    if count % share.size:
        raise ValueError(f"{count} {what} can't be divided evenly among {share.size} processes")


def self_attend(q: Tensor, k: Tensor, v: Tensor, share: VideoShare) -> Tensor:
    """Attention between all tokens [B, N, h, d] of all processes, for those of this one."""
    q, k, v = (share.exchange(x, split=2, join=1) for x in (q, k, v))
    return share.exchange(attend(q, k, v), split=1, join=2)


def attend_to_all(
    attention: Callable[..., Tensor], q: Tensor, *source: Tensor, dim: int, share: VideoShare
) -> Tensor:
    """`attention(q, *source)` for queries [..., h, d] that every process has.

    Keys and values [..., h, d] are divided between the processes along `dim`. The result, as whole
    as the queries, is the same in all of them.
    """
    heads = q.ndim - 2
    every = (share.exchange(x, split=heads, join=dim) for x in source)
    return share.join(attention(share.take(q, heads), *every), heads)
