"""Local cross-attention in plain PyTorch, on the plan of the Triton kernels: the side with more
tokens per frame is touched once.

Frames are the time steps of that side. The other side's rows that meet a frame are gathered beside
it and turned by the difference of the angles, (R(a) x) . (R(b) y) = x . R(b - a) y, so that the
many tokens of a frame are used as they are. Cost grows with the windows, not with the clip.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs
import torch
import torch.nn.functional as F
from torch import Tensor

from harmony_parts.attention.protocol import Windows
from harmony_parts.layers.rope import rotate, table


@attrs.frozen
class Eager:
    """No settings."""

    def __call__(
        self, q: Tensor, k: Tensor, v: Tensor, windows: Windows, q_angles: Tensor, k_angles: Tensor
    ) -> Tensor:
        """See `LocalAttention`. Any device and floating-point type; windows are padded to the
        widest one.
        """
        if not q.shape[1] * k.shape[1]:  # nobody reads, or there is nothing to read
            return q * 0
        reads = _frames_read if q.shape[2] >= k.shape[2] else _frames_are_read
        wide = torch.promote_types(q.dtype, torch.float32)
        return reads(q, k, v, windows, q_angles.to(wide), k_angles.to(wide))


def _frames_read(
    q: Tensor, k: Tensor, v: Tensor, windows: Windows, q_angles: Tensor, k_angles: Tensor
) -> Tensor:
    """Frames are queries: the whole window is beside its frame, so one softmax over it is all."""
    frames, tokens = q.flatten(0, 1), k.shape[2]  # [N = B Tq, Sq, h, d]
    index, seen = _table(windows.of_query, windows.most_keys, k.shape[1])
    keys = _rows(_turned(k[:, index], k_angles[index] - q_angles[:, None]), seen)
    values = _rows(v[:, index], seen)
    seen = seen.repeat_interleave(tokens, 1)
    # a window that is empty looks at all its rows, whose values are 0
    bias = q.new_zeros(seen.shape).masked_fill(~seen & seen.any(1, keepdim=True), -torch.inf)
    bias = bias.expand(len(q), *bias.shape).flatten(0, 1)  # [N, W Sk]
    # scores [N, W Sk, Sq]: the softmax over few rows is done for many tokens side by side
    if _by_head(q):
        heads = zip(_heads(frames), _heads(keys), _heads(values))
        out = _joined(
            (key @ x.mT + bias[..., None]).softmax(-2).mT @ value for x, key, value in heads
        )
    else:
        mask = bias[:, None, None].expand(-1, q.shape[3], q.shape[2], -1)
        frames, keys, values = (x.transpose(1, 2) for x in (frames, keys, values))
        out = F.scaled_dot_product_attention(
            frames, keys, values, attn_mask=mask, scale=1.0
        ).transpose(1, 2)
    return out.unflatten(0, q.shape[:2])


def _frames_are_read(
    q: Tensor, k: Tensor, v: Tensor, windows: Windows, q_angles: Tensor, k_angles: Tensor
) -> Tensor:
    """Frames are keys: all queries that see a frame are beside it. A query's frames are joined by
    their largest scores and sums.
    """
    shape = len(q), k.shape[1], max(1, windows.most_queries), q.shape[2]  # B, Tk, U, Sq
    index, seen = _table(windows.of_key, windows.most_queries, q.shape[1])
    queries = _rows(_turned(q[:, index], q_angles[index] - k_angles[:, None]), seen)
    wide = q_angles.dtype
    found = []
    for x, key, value in zip(*map(_heads, (queries, k.flatten(0, 1), v.flatten(0, 1)))):
        scores = x @ key.mT  # [N, (h,) U Sq, Sk]
        largest = scores.amax(-1, keepdim=True).detach()  # whatever it is, it cancels
        weights = (scores - largest).exp()
        found.append((largest.to(wide), weights.sum(-1, keepdim=True, dtype=wide), weights @ value))
    # back to the queries: frame f = first + 0, 1, ... holds query i in row i - (first query of f)
    frame, seen = _table(windows.of_query, windows.most_keys, k.shape[1])
    row = torch.arange(len(frame), device=q.device)[:, None] - windows.of_key[:, 0][frame]
    row = row.clamp(0, shape[2] - 1)
    largest, total, out = (
        _joined(x).unflatten(0, shape[:2]).unflatten(2, shape[2:])[:, frame, row]
        for x in zip(*found)
    )
    # [B, Tq, K, Sq, h, 1 or d]
    largest = largest.masked_fill(~seen[..., None, None, None], -torch.inf)
    weights = (largest - largest.amax(2, keepdim=True).nan_to_num(neginf=0.0)).exp()
    total = (weights * total).sum(2)
    return ((weights * out).sum(2) / total.masked_fill(total == 0, 1)).to(q.dtype)


def _table(ranges: Tensor, most: int, others: int) -> tuple[Tensor, Tensor]:
    """Ranges [n, 2] written out: int [n, most] and bool, which of them are in the range. Those that
    aren't are still legal indices.
    """
    at = ranges[:, :1] + torch.arange(max(1, most), device=ranges.device)
    return at.clamp(max=others - 1), at < ranges[:, 1:]


def _turned(x: Tensor, angle: Tensor) -> Tensor:
    """x [B, n, W, S, h, d] turned by angles [n, W, d/2] and divided by sqrt(d), in the precision of
    the angles: float32 at least.
    """
    return (rotate(x.to(angle.dtype), table(angle)[:, :, None, None]) * x.shape[-1] ** -0.5).to(
        x.dtype
    )


def _rows(x: Tensor, seen: Tensor) -> Tensor:
    """[B, n, W, S, h, d] -> [B n, W S, h, d], 0 where [n, W] isn't seen."""
    return x.masked_fill(~seen[..., None, None, None], 0).flatten(0, 1).flatten(1, 2)


def _by_head(x: Tensor) -> bool:
    """Whether heads are multiplied one by one: on a CPU a product per head reads x where it is, and
    one for all would copy it.
    """
    return x.device.type == "cpu"


def _heads(x: Tensor) -> tuple[Tensor, ...]:
    """[N, S, h, d] as factors of matrix products: [N, S, d] of each head, or one [N, h, S, d]."""
    return x.unbind(2) if _by_head(x) else (x.transpose(1, 2),)


def _joined(heads: Iterable[Tensor]) -> Tensor:
    """What `_heads` took apart: [N, S, h, ...]."""
    found = tuple(heads)
    return torch.stack(found, 2) if found[0].ndim == 3 else found[0].transpose(1, 2)
