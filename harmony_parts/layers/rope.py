"""Rotary position embedding (RoPE): angles in float64, tables in float32.

Pairs are interleaved, (2i, 2i + 1), as in Wan and Ovi.
"""

from __future__ import annotations

import torch
from torch import Tensor

OVI_CONSTANT = 0.19676
"""Video latents per audio latent, as Ovi sets it (31 / 157 is 0.19745)."""


def angles(positions: Tensor, pairs: int, theta: float = 1e4) -> Tensor:
    """position * theta^(-i / pairs) for i < pairs: positions [...] -> float32 [..., pairs]."""
    frequencies = theta ** -(
        torch.arange(pairs, dtype=torch.float64, device=positions.device) / pairs
    )
    return (positions.double()[..., None] * frequencies).float()


def time_pairs(pairs: int) -> int:
    """How many of a head's pairs rotate with time in a video: the first 22 of 64, as in Wan.

    The others rotate with height and width.
    """
    return pairs - 2 * (pairs // 3)


def grid_angles(times: Tensor, height: int, width: int, pairs: int, theta: float = 1e4) -> Tensor:
    """Angles of a video's tokens, float32 [T, height * width, pairs].

    The pairs are split over time, height and width as in Wan: of d/2 pairs, d // 6 each rotate with
    height and width. `times` [T] (float64): the latents' positions in time.
    """
    axes = (
        times,
        *(torch.arange(side, dtype=torch.float64, device=times.device) for side in (height, width)),
    )
    shares = (time_pairs(pairs), pairs // 3, pairs // 3)
    parts = []
    for axis, (positions, share) in enumerate(zip(axes, shares)):
        shape = [1, 1, 1, share]
        shape[axis] = len(positions)
        parts.append(
            angles(positions, share, theta).reshape(shape).expand(len(times), height, width, share)
        )
    return torch.cat(parts, dim=-1).flatten(1, 2)


def table(angle: Tensor) -> Tensor:
    """cos and sin of angles: [..., pairs] -> [..., pairs, 2]."""
    return torch.stack((angle.cos(), angle.sin()), dim=-1)


def rotate(x: Tensor, rope: Tensor) -> Tensor:
    """Rotate the first pairs of x [..., d] by a table [..., pairs, 2] that broadcasts against it.

    Pairs beyond the table are unchanged.
    """
    pairs = rope.shape[-2]
    first, second = x[..., : 2 * pairs].unflatten(-1, (pairs, 2)).unbind(-1)
    cos, sin = rope.unbind(-1)
    rotated = torch.stack((first * cos - second * sin, first * sin + second * cos), dim=-1)
    rotated = rotated.flatten(-2).to(x.dtype)
    if 2 * pairs == x.shape[-1]:
        return rotated
    return torch.cat((rotated, x[..., 2 * pairs :]), dim=-1)
