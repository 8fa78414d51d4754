"""Codecs of diffusers' causal video autoencoders: counts, clock, encoding and decoding."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from harmony_diffusers.clock import intervals, latents_of, steps_of
from harmony_diffusers.frozen import Frozen
from harmony_parts.av import Format
from harmony_parts.plugin import knob


def slicing_knob() -> Any:
    """The knob of encoding and decoding clip by clip."""
    return knob(True, help="process the clips of a batch one at a time, to save memory", off=False)


def tile_knob(multiple: int) -> Any:
    """The knob of tiles; tiles, and their overlap of a quarter, are whole latents."""

    def check(instance: object, attribute: attrs.Attribute[int], value: int) -> None:
        if value < 0 or value % multiple:
            raise ValueError(
                f"tile must be 0, or a multiple of {multiple} pixels so that tiles and their"
                f" overlap are whole latents, not {value}"
            )

    return knob(
        0,
        help=(
            "height and width of the tiles that a picture is split into, to save memory; they"
            " overlap by a quarter and are blended there"
        ),
        unit="pixels",
        off=0,
        validator=check,
    )


class CausalVideoCodec:
    """A VideoCodec of an autoencoder whose first latent has one frame, and each other `step`.

    Latents are (z - mean) / std per channel, z the mean of the encoder's distribution. `stride` is
    the pixels per latent in either direction, `tile` the height and width of tiles (0: none).
    Raises ValueError if the format's size isn't a multiple of the stride.
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
                    " autoencoder's pixels per latent"
                )
        self.grid = (format.height // stride, format.width // stride)
        if slicing:
            vae.enable_slicing()
        if tile:
            self._tile(tile)

    def _tile(self, tile: int) -> None:
        """Split pictures into tiles of that height and width."""
        step = tile * 3 // 4
        self._vae.enable_tiling(
            tile, tile, tile_sample_stride_height=step, tile_sample_stride_width=step
        )

    @property
    def external_modules(self) -> tuple[nn.Module, ...]:
        """The modules that own the weights."""
        return self.frozen.models

    def latents(self, frames: int) -> int:
        """Number of latents of `frames` frames: 1 + ceil((frames - 1) / step)."""
        return latents_of(frames, self.step)

    def frames(self, latents: int) -> int:
        """Number of frames of `latents` latents: 1 + step (latents - 1)."""
        return steps_of(latents, self.step)

    def clock(self, latents: int) -> Tensor:
        """float64 [latents, 2] (start, end) in seconds; the first latent lasts one frame."""
        return intervals(latents, self.step, 1 / Fraction(self.format.fps))

    @torch.no_grad()
    def encode(self, frames: Tensor) -> Tensor:
        """uint8 [B, F, H, W, 3] -> float32 [B, latents(F), h, w, C].

        The last frame is repeated to fill the last latent. Raises ValueError for other shapes.
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
        pixels = self._pixels(frames).to(self.frozen.dtype)
        z = (
            self._vae.encode(pixels.permute(0, 4, 1, 2, 3))
            .latent_dist.mode()
            .permute(0, 2, 3, 4, 1)
        )
        return self.scaled(z)

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
        z = self.unscaled(latents.to(self.frozen.device)).to(self.frozen.dtype)
        pixels = self._vae.decode(z.permute(0, 4, 1, 2, 3)).sample.permute(0, 2, 3, 4, 1)
        return self._values(pixels.float()).round().clamp(0, 255).to(torch.uint8)

    def scaled(self, z: Tensor) -> Tensor:
        """The autoencoder's own latents [..., C] as those of the codec, in float32."""
        return (z.float() - self._mean.to(z.device)) / self._std.to(z.device)

    def unscaled(self, latents: Tensor) -> Tensor:
        """The codec's latents [..., C] as the autoencoder's own, in float32."""
        return latents.float() * self._std.to(latents.device) + self._mean.to(latents.device)

    def _pixels(self, frames: Tensor) -> Tensor:
        """Values 0..255 [..., 3] as the autoencoder takes them: -1..1."""
        return frames.float() / 127.5 - 1

    def _values(self, pixels: Tensor) -> Tensor:
        """The autoencoder's pixels [..., 3] as values 0..255."""
        return (pixels + 1) * 127.5
