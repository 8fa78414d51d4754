"""Rotary position embedding: angles in float64, tables in float32, pairs interleaved (2i, 2i + 1) as in Wan and Ovi."""

from __future__ import annotations

import torch
from torch import Tensor


def angles(positions: Tensor, pairs: int, theta: float = 1e4) -> Tensor:
    """position * theta^(-i / pairs) for i < pairs: float64 positions [...] -> float32 [..., pairs]."""
    frequencies = theta ** -(torch.arange(pairs, dtype=torch.float64, device=positions.device) / pairs)
    return (positions.double()[..., None] * frequencies).float()


def grid_angles(frames: int, height: int, width: int, pairs: int, theta: float = 1e4) -> Tensor:
    """Angles of a video's tokens, float32 [frames, height * width, pairs]: the pairs are split over time, height and width as in Wan.

    Of d/2 pairs, d // 6 each turn with height and width and the rest with time (22, 21, 21 at d = 128).
    """
    side = pairs // 3
    turns = []
    for axis, (length, share) in enumerate(((frames, pairs - 2 * side), (height, side), (width, side))):
        shape = [1, 1, 1, share]
        shape[axis] = length
        turns.append(angles(torch.arange(length, dtype=torch.float64), share, theta).reshape(shape).expand(frames, height, width, share))
    return torch.cat(turns, dim=-1).flatten(1, 2)


def table(angle: Tensor) -> Tensor:
    """cos and sin of angles: [..., pairs] -> [..., pairs, 2]."""
    return torch.stack((angle.cos(), angle.sin()), dim=-1)


def rotate(x: Tensor, turn: Tensor) -> Tensor:
    """Turn the first pairs of x [..., d] by a table [..., pairs, 2] that broadcasts against it; pairs beyond the table pass through."""
    pairs = turn.shape[-2]
    first, second = x[..., : 2 * pairs].unflatten(-1, (pairs, 2)).unbind(-1)
    cos, sin = turn.unbind(-1)
    turned = torch.stack((first * cos - second * sin, first * sin + second * cos), dim=-1).flatten(-2)
    return turned.to(x.dtype) if 2 * pairs == x.shape[-1] else torch.cat((turned.to(x.dtype), x[..., 2 * pairs :]), dim=-1)
