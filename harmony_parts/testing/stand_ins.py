"""As much of a codec and of an encoder as a denoiser asks for, to build one in a test at any
size.
"""

from __future__ import annotations

import attrs
import torch
from torch import Tensor


@attrs.frozen
class StubCodec:
    """A codec's channels, grid ((h, w), or () of sound) and clock: latents of even length, `rate` a
    second.
    """

    channels: int
    grid: tuple[int, ...]
    rate: float

    def clock(self, latents: int) -> Tensor:
        """float64 [latents, 2] seconds."""
        edges = torch.arange(latents + 1, dtype=torch.float64) / self.rate
        return torch.stack((edges[:-1], edges[1:]), dim=1)


class StubEncoder:
    """What an encoder produces: condition -> width of its tokens."""

    def __init__(self, **produces: int) -> None:
        self.produces = produces
