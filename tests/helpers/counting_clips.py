"""Clips whose frames and samples count, so that a cut shows where it was taken."""

from __future__ import annotations

from fractions import Fraction

import torch

from harmony_parts.av import Format
from harmony_parts.media.clip import Clip

# 10 frames, 8,000 samples
FORMAT = Format(fps=Fraction(10), height=16, width=24, sample_rate=8000, seconds=1.0)
LONG, SHORT = 25, 4  # frames


def counting(frames: int) -> Clip:
    """Frame i is grey of level 9 i + 16, with a constant sound of (i + 1) / 32."""
    count = torch.arange(frames)
    pictures = (
        (9 * count + 16).to(torch.uint8)[:, None, None, None].expand(-1, 16, 24, 3).contiguous()
    )
    return Clip(
        pictures, Fraction(10), ((count + 1) / 32).repeat_interleave(800)[None].float(), 8000
    )


def frame_numbers(frames: torch.Tensor) -> list[int]:
    """The frame of `counting` that each is; H.264 and BT.709 change levels by less than 9."""
    return ((frames.float().mean((1, 2, 3)) - 16) / 9).round().int().tolist()


def sample_frames(sound: torch.Tensor) -> torch.Tensor:
    """The frame of `counting` of each sample, -1 for silence; FLAC keeps multiples of 1/32."""
    return sound * 32 - 1


def draw(data, index: int, seed: int):
    return data.example(index, torch.Generator().manual_seed(seed))
