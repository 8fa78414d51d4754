"""What causal video autoencoders of diffusers have in common as codecs: counts, clock, and the way
from frames to latents and back.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from harmony_diffusers.clock import intervals, latents_of, steps_of
from harmony_diffusers.frozen import Frozen
from harmony_parts.av import Format


def tile_multiple(pixels: int) -> Any:
    """A validator of the knob `tile`: tiles, and their overlap of a quarter, are whole latents."""

    def check(instance: object, attribute: attrs.Attribute[int], value: int) -> None:
        if value < 0 or value % pixels:
            raise ValueError(
                f"tile must be 0, or a multiple of {pixels} pixels so that tiles and their overlap"
                f" are whole latents, not {value}"
            )

    return check


class CausalVideoCodec:
    """A VideoCodec of an autoencoder whose first latent is one frame, and every other `step`
    frames.

    Latents are (z - mean) / std per channel, z the mean of the encoder's distribution. `stride`:
    pixels to a latent, each way; `tile`: height and width of the pieces that a picture is cut into,
    0 for none. Raises ValueError where the format doesn't fit the stride.
    """

    def __init__(
        self,
        vae: Any,
        format: Format,
        *,
        step: int,
        stride: int,
        channels: int,
        mean: Tensor,
        std: Tensor,
        slicing: bool,
        tile: int,
    ) -> None:
        self.format, self.step, self.channels = format, step, channels
        self._vae, self._mean, self._std = vae, mean, std
        self.frozen = Frozen(vae)
        for name in ("height", "width"):
            if getattr(format, name) % stride:
                raise ValueError(
                    f"{name} {getattr(format, name)} is not a multiple of {stride}, the"
                    " autoencoder's pixels to a latent"
                )
        self.grid = (format.height // stride, format.width // stride)
        if slicing:
            vae.enable_slicing()
        if tile:
            part = tile * 3 // 4
            vae.enable_tiling(
                tile, tile, tile_sample_stride_height=part, tile_sample_stride_width=part
            )

    @property
    def external_modules(self) -> tuple[nn.Module, ...]:
        """The modules that hold the weights."""
        return self.frozen.models

    def latents(self, frames: int) -> int:
        """How many latents `frames` frames take: 1 + ceil((frames - 1) / step)."""
        return latents_of(frames, self.step)

    def frames(self, latents: int) -> int:
        """How many frames `latents` latents hold: 1 + step (latents - 1)."""
        return steps_of(latents, self.step)

    def clock(self, latents: int) -> Tensor:
        """float64 [latents, 2] (start, end) in seconds: the first latent shows for one frame, every
        other for `step`.
        """
        return intervals(latents, self.step, 1 / Fraction(self.format.fps))

    @torch.no_grad()
    def encode(self, frames: Tensor) -> Tensor:
        """uint8 [B, F, H, W, 3] -> float32 [B, latents(F), h, w, C]; the last frame is repeated to
        fill the last latent.
        """
        size = (self.format.height, self.format.width, 3)
        if frames.ndim != 5 or frames.shape[2:] != size or frames.dtype != torch.uint8:
            raise ValueError(
                f"frames are uint8 [B, F, {', '.join(map(str, size))}], not {frames.dtype}"
                f" {list(frames.shape)}"
            )
        missing = self.frames(self.latents(frames.shape[1])) - frames.shape[1]
        frames = torch.cat([frames, frames[:, -1:].expand(-1, missing, -1, -1, -1)], dim=1).to(
            self.frozen.device
        )
        pixels = (frames.float() / 127.5 - 1).to(self.frozen.dtype)
        z = (
            self._vae.encode(pixels.permute(0, 4, 1, 2, 3))
            .latent_dist.mode()
            .permute(0, 2, 3, 4, 1)
        )
        return (z.float() - self._mean.to(z.device)) / self._std.to(z.device)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """[B, T, h, w, C] -> uint8 [B, frames(T), H, W, 3]."""
        if (
            latents.ndim != 5
            or not latents.shape[1]
            or latents.shape[2:] != (*self.grid, self.channels)
        ):
            raise ValueError(
                f"latents are [B, T, {self.grid[0]}, {self.grid[1]}, {self.channels}], not"
                f" {list(latents.shape)}"
            )
        z = latents.to(self.frozen.device).float()
        z = (z * self._std.to(z.device) + self._mean.to(z.device)).to(self.frozen.dtype)
        pixels = self._vae.decode(z.permute(0, 4, 1, 2, 3)).sample.permute(0, 2, 3, 4, 1)
        return ((pixels.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
