"""Rotary position embedding: angles in float64, tables in float32, pairs interleaved (2i, 2i + 1)
as in Wan and Ovi.
"""

from __future__ import annotations

import torch
from torch import Tensor

OVI_CONSTANT = 0.19676
"""Video latents per audio latent as Ovi sets it (31 / 157 is 0.19745)."""


def angles(positions: Tensor, pairs: int, theta: float = 1e4) -> Tensor:
    """position * theta^(-i / pairs) for i < pairs: float64 positions [...] -> float32 [...,
    pairs].
    """
    frequencies = theta ** -(
        torch.arange(pairs, dtype=torch.float64, device=positions.device) / pairs
    )
    return (positions.double()[..., None] * frequencies).float()


def time_pairs(pairs: int) -> int:
    """How many of a head's pairs turn with time in a video, the first ones: 22 of 64, as in Wan;
    the rest are for height and width.
    """
    return pairs - 2 * (pairs // 3)


def grid_angles(times: Tensor, height: int, width: int, pairs: int, theta: float = 1e4) -> Tensor:
    """Angles of a video's tokens, float32 [T, height * width, pairs]: the pairs are split over
    time, height and width as in Wan.

    `times` [T] (float64): the latents' positions in time. Of d/2 pairs, d // 6 each turn with
    height and width.
    """
    places = (
        times,
        *(torch.arange(side, dtype=torch.float64, device=times.device) for side in (height, width)),
    )
    turns = []
    for axis, (place, share) in enumerate(zip(places, (time_pairs(pairs), pairs // 3, pairs // 3))):
        shape = [1, 1, 1, share]
        shape[axis] = len(place)
        turns.append(
            angles(place, share, theta).reshape(shape).expand(len(times), height, width, share)
        )
    return torch.cat(turns, dim=-1).flatten(1, 2)


def table(angle: Tensor) -> Tensor:
    """cos and sin of angles: [..., pairs] -> [..., pairs, 2]."""
    return torch.stack((angle.cos(), angle.sin()), dim=-1)


def rotate(x: Tensor, turn: Tensor) -> Tensor:
    """Turn the first pairs of x [..., d] by a table [..., pairs, 2] that broadcasts against it;
    pairs beyond the table pass through.
    """
    pairs = turn.shape[-2]
    first, second = x[..., : 2 * pairs].unflatten(-1, (pairs, 2)).unbind(-1)
    cos, sin = turn.unbind(-1)
    turned = torch.stack((first * cos - second * sin, first * sin + second * cos), dim=-1).flatten(
        -2
    )
    return (
        turned.to(x.dtype)
        if 2 * pairs == x.shape[-1]
        else torch.cat((turned.to(x.dtype), x[..., 2 * pairs :]), dim=-1)
    )
