"""What causal video codecs share: their first latent has one frame, each other one k frames."""

from __future__ import annotations

from fractions import Fraction

import torch
from torch import Tensor

from harmony_parts.av import Format
from harmony_parts.codecs.protocol import VideoCodec


def latents_of(frames: int, k: int) -> int:
    """Number of latents of `frames` frames: 1 + ceil((frames - 1) / k).

    Raises ValueError without a frame.
    """
    if frames < 1:
        raise ValueError(f"a clip has at least one frame, not {frames}")
    return 1 - (1 - frames) // k


def frames_of(latents: int, k: int) -> int:
    """Number of frames of `latents` latents: 1 + k (latents - 1).

    Raises ValueError without a latent.
    """
    if latents < 1:
        raise ValueError(f"a clip has at least one latent, not {latents}")
    return 1 + k * (latents - 1)


def intervals(latents: int, k: int, fps: Fraction) -> Tensor:
    """float64 [latents, 2] (start, end) in seconds; the first latent lasts one frame."""
    edges = torch.arange(latents + 1, dtype=torch.float64) * k + (1 - k)
    edges = edges.clamp(min=0) * fps.denominator / fps.numerator
    return torch.stack([edges[:-1], edges[1:]], dim=1)


def fill_last_latent(codec: VideoCodec, frames: Tensor, format: Format) -> Tensor:
    """uint8 [B, F, H, W, 3], its last frame repeated to fill the last latent.

    Raises ValueError for other shapes and types.
    """
    size = (format.height, format.width, 3)
    if frames.ndim != 5 or frames.shape[2:] != size or frames.dtype != torch.uint8:
        raise ValueError(
            f"frames are uint8 [B, F, {', '.join(map(str, size))}], not {frames.dtype}"
            f" {list(frames.shape)}"
        )
    missing = codec.frames(codec.latents(frames.shape[1])) - frames.shape[1]
    return torch.cat([frames, frames[:, -1:].expand(-1, missing, -1, -1, -1)], dim=1)


def check_latents(codec: VideoCodec, latents: Tensor) -> None:
    """Raises ValueError if latents aren't [B, T, h, w, C] of the codec, T at least 1."""
    size = (*codec.grid, codec.channels)
    if latents.ndim != 5 or not latents.shape[1] or latents.shape[2:] != size:
        raise ValueError(
            f"latents are [B, T, {', '.join(map(str, size))}], not {list(latents.shape)}"
        )


def to_uint8(pixels: Tensor) -> Tensor:
    """Pixels in [-1, 1], clamped, as uint8."""
    return ((pixels + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
