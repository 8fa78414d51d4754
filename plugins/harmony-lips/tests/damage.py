"""What is done to clips to make lips harder to read."""

from __future__ import annotations

import attrs
import torch
from torch.nn.functional import interpolate

from harmony_parts.media.clip import Clip


def noisy(clip: Clip, below: float) -> Clip:
    """White noise, `below` dB below the sound; no picture."""
    noise = torch.randn(clip.waveform.shape, generator=torch.Generator().manual_seed(0))
    level = clip.waveform.square().mean().sqrt() * 10 ** (-below / 20)
    return attrs.evolve(clip, waveform=clip.waveform + level * noise, frames=None)


def smaller(clip: Clip, share: float) -> Clip:
    """`share` of the height and width; no sound."""
    pictures = clip.frames.permute(0, 3, 1, 2).float()
    return _silent(clip, interpolate(pictures, scale_factor=share, mode="area"))


def blurred(clip: Clip, share: float) -> Clip:
    """Smaller, and enlarged again; no sound."""
    small = smaller(clip, share).frames.permute(0, 3, 1, 2).float()
    return _silent(clip, interpolate(small, size=clip.frames.shape[1:3], mode="bilinear"))


def in_a_wall(clip: Clip, share: float) -> Clip:
    """The same picture, smaller, in the middle of a grey one of the same size: a smaller face."""
    small = smaller(clip, share).frames
    frames = torch.full_like(clip.frames, 90)
    top, left = ((a - b) // 2 for a, b in zip(frames.shape[1:3], small.shape[1:3]))
    frames[:, top : top + small.shape[1], left : left + small.shape[2]] = small
    return attrs.evolve(clip, frames=frames, waveform=None)


def _silent(clip: Clip, pictures: torch.Tensor) -> Clip:
    frames = pictures.round().clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous()
    return attrs.evolve(clip, frames=frames, waveform=None)
