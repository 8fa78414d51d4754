"""Minimal codecs and encoders, to build a denoiser of any size in a test."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor


@attrs.frozen
class StubCodec:
    """A codec's channels, grid and clock.

    `grid`: (h, w) of video latents, or () of audio; `rate`: latents per second, equally long.
    """

    channels: int
    grid: tuple[int, ...]
    rate: float

    def clock(self, latents: int) -> Tensor:
        """Start and end of each latent in seconds, float64 [latents, 2]."""
        edges = torch.arange(latents + 1, dtype=torch.float64) / self.rate
        return torch.stack((edges[:-1], edges[1:]), dim=1)


class StubEncoder:
    """An encoder's `produces`: condition -> width of its tokens."""

    def __init__(self, **produces: int) -> None:
        self.produces = produces
