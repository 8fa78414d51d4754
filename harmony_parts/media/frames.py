"""Frames at another rate or size."""

from __future__ import annotations

import math
from fractions import Fraction

import torch
from torch import Tensor


def frames_for(frames: int, fps: Fraction, new: Fraction) -> int:
    """Number of frames at `new` frames per second that cover `frames` at `fps`, rounded up."""
    return max(1, math.ceil(frames * new / fps))


def regrid(frames: Tensor, fps: Fraction, new: Fraction, count: int) -> Tensor:
    """[T, H, W, 3] at `fps` -> [count, H, W, 3] at `new` frames per second.

    Each is the old frame at its middle; the last frame is repeated as needed.
    """
    middles = [min(len(frames) - 1, int((2 * k + 1) * fps / (2 * new))) for k in range(count)]
    return frames[torch.tensor(middles, device=frames.device)]


def cover(frames: Tensor, height: int, width: int) -> Tensor:
    """Scale uint8 frames to cover height x width, keeping the aspect ratio, and crop the centre.

    `Clip.read` does the same. The result is [T, height, width, 3].
    """
    old = frames.shape[1:3]
    if tuple(old) == (height, width):
        return frames
    scale = max(height / old[0], width / old[1])
    size = (max(height, round(old[0] * scale)), max(width, round(old[1] * scale)))
    scaled = torch.nn.functional.interpolate(
        frames.movedim(-1, 1).float(), size, mode="bilinear", antialias=True, align_corners=False
    )
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    return (
        scaled[:, :, top : top + height, left : left + width]
        .movedim(1, -1)
        .round()
        .clamp(0, 255)
        .to(torch.uint8)
    )
