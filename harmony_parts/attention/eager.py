"""Local cross-attention in plain PyTorch, with the algorithm of the Triton kernels.

The side with more tokens per frame is read once, and below "frames" are those of that side. The
other side's rows in the window of a frame are gathered and rotated by the difference of the angles,
(R(a) x) . (R(b) y) = x . R(b - a) y, so that the many tokens of a frame need no rotation. Cost
grows with the windows, not with the clip.
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
    """Gathered windows in plain PyTorch; no settings."""

    def __call__(
        self, q: Tensor, k: Tensor, v: Tensor, windows: Windows, q_angles: Tensor, k_angles: Tensor
    ) -> Tensor:
        """`LocalAttention` on any device and in any floating-point type.

        Windows are padded to the widest one.
        """
        if not q.shape[1] * k.shape[1]:  # no queries or no keys
            return q * 0
        attention = _frames_as_queries if q.shape[2] >= k.shape[2] else _frames_as_keys
        wide = torch.promote_types(q.dtype, torch.float32)
        return attention(q, k, v, windows, q_angles.to(wide), k_angles.to(wide))


def _frames_as_queries(
    q: Tensor, k: Tensor, v: Tensor, windows: Windows, q_angles: Tensor, k_angles: Tensor
) -> Tensor:
    """Frames are queries: one softmax over the gathered window of each."""
    frames, tokens = q.flatten(0, 1), k.shape[2]  # [N = B Tq, Sq, h, d]
    index, seen = _table(windows.of_query, windows.most_keys, k.shape[1])
    keys = _rows(_rotated(k[:, index], k_angles[index] - q_angles[:, None]), seen)
    values = _rows(v[:, index], seen)
    seen = seen.repeat_interleave(tokens, 1)
    # an empty window attends to all its rows, whose values are 0
    bias = q.new_zeros(seen.shape).masked_fill(~seen & seen.any(1, keepdim=True), -torch.inf)
    bias = bias.expand(len(q), *bias.shape).flatten(0, 1)  # [N, W Sk]
    # scores [N, W Sk, Sq]: a softmax over few rows, for many tokens side by side
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


def _frames_as_keys(
    q: Tensor, k: Tensor, v: Tensor, windows: Windows, q_angles: Tensor, k_angles: Tensor
) -> Tensor:
    """Frames are keys: the queries whose window has a frame are gathered beside it.

    The results of a query's frames are combined by their largest scores and sums of weights.
    """
    shape = len(q), k.shape[1], max(1, windows.most_queries), q.shape[2]  # B, Tk, U, Sq
    index, seen = _table(windows.of_key, windows.most_queries, q.shape[1])
    queries = _rows(_rotated(q[:, index], q_angles[index] - k_angles[:, None]), seen)
    wide = q_angles.dtype
    partial = []
    for x, key, value in zip(*map(_heads, (queries, k.flatten(0, 1), v.flatten(0, 1)))):
        scores = x @ key.mT  # [N, (h,) U Sq, Sk]
        largest = scores.amax(-1, keepdim=True).detach()  # it cancels, so it needs no gradient
        weights = (scores - largest).exp()
        partial.append(
            (largest.to(wide), weights.sum(-1, keepdim=True, dtype=wide), weights @ value)
        )
    # back to the queries: frame f = first + 0, 1, ... holds query i in row i - (first query of f)
    frame, seen = _table(windows.of_query, windows.most_keys, k.shape[1])
    row = torch.arange(len(frame), device=q.device)[:, None] - windows.of_key[:, 0][frame]
    row = row.clamp(0, shape[2] - 1)
    largest, total, out = (
        _joined(x).unflatten(0, shape[:2]).unflatten(2, shape[2:])[:, frame, row]
        for x in zip(*partial)
    )
    # [B, Tq, K, Sq, h, 1 or d]
    largest = largest.masked_fill(~seen[..., None, None, None], -torch.inf)
    weights = (largest - largest.amax(2, keepdim=True).nan_to_num(neginf=0.0)).exp()
    total = (weights * total).sum(2)
    return ((weights * out).sum(2) / total.masked_fill(total == 0, 1)).to(q.dtype)


def _table(ranges: Tensor, most: int, others: int) -> tuple[Tensor, Tensor]:
    """Ranges [n, 2] -> indices [n, most], and bool whether each is in its range.

    Indices out of range are clamped to valid ones.
    """
    at = ranges[:, :1] + torch.arange(max(1, most), device=ranges.device)
    return at.clamp(max=others - 1), at < ranges[:, 1:]


def _rotated(x: Tensor, angle: Tensor) -> Tensor:
    """x [B, n, W, S, h, d] rotated by angles [n, W, d/2] and divided by sqrt(d).

    Computed in the type of the angles, at least float32.
    """
    return (rotate(x.to(angle.dtype), table(angle)[:, :, None, None]) * x.shape[-1] ** -0.5).to(
        x.dtype
    )


def _rows(x: Tensor, seen: Tensor) -> Tensor:
    """[B, n, W, S, h, d] -> [B n, W S, h, d], 0 where `seen` [n, W] is False."""
    return x.masked_fill(~seen[..., None, None, None], 0).flatten(0, 1).flatten(1, 2)


def _by_head(x: Tensor) -> bool:
    """Whether to multiply heads one by one: on a CPU, one product for all would copy x."""
    return x.device.type == "cpu"


def _heads(x: Tensor) -> tuple[Tensor, ...]:
    """[N, S, h, d] as factors of matrix products: [N, S, d] of each head, or one [N, h, S, d]."""
    return x.unbind(2) if _by_head(x) else (x.transpose(1, 2),)


def _joined(heads: Iterable[Tensor]) -> Tensor:
    """The inverse of `_heads`: [N, S, h, ...]."""
    parts = tuple(heads)
    return torch.stack(parts, 2) if parts[0].ndim == 3 else parts[0].transpose(1, 2)
