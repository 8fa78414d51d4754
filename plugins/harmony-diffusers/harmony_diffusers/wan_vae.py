"""Video latents of Wan2.2 or Wan2.1, through diffusers' AutoencoderKLWan."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import attrs
import torch
from torch import Tensor

from harmony_diffusers.clock import intervals, latents_of, steps_of
from harmony_diffusers.frozen import (
    Frozen,
    Precision,
    config_knob,
    diffusers_model,
    model_knob,
    precision_knob,
    revision_knob,
    subfolder_knob,
)
from harmony_parts.av import Format
from harmony_parts.plugin import knob

FRAMES = 4  # frames of every latent but the first; diffusers has the number fixed in its loops

WAN22: dict[str, Any] = {
    "base_dim": 160,
    "decoder_base_dim": 256,
    "z_dim": 48,
    "dim_mult": [1, 2, 4, 4],
    "num_res_blocks": 2,
    "attn_scales": [],
    "temperal_downsample": [False, True, True],
    "is_residual": True,
    "in_channels": 12,
    "out_channels": 12,
    "patch_size": 2,
    "scale_factor_spatial": 16,
    "scale_factor_temporal": 4,
    "latents_mean": [0.0] * 48,  # a folder with weights brings the numbers that belong to them
    "latents_std": [1.0] * 48,
}
"""The form of the autoencoder of Wan2.2-TI2V-5B, 0.7 G parameters, for counting without weights."""


def _tile(instance: object, attribute: attrs.Attribute[int], value: int) -> None:
    if value < 0 or value % 64:
        raise ValueError(f"tile must be 0, or a multiple of 64 pixels so that tiles and their overlap are whole latents, not {value}")


@attrs.frozen
class WanVAE:
    """The causal video autoencoder of Wan2.2 (48 channels, 16 x 16 pixels and 4 frames to a latent) or Wan2.1 (16 channels, 8 x 8).

    Frames uint8 [B, F, H, W, 3] <-> latents [B, T, H / 16, W / 16, 48], F = 1 + 4 (T - 1): (mean of the distribution - mean) / std, per
    channel, as the weights' own configuration has them. Frames and latents are moved to the weights' device, and the result is there.
    Source: arXiv:2503.20314. The weights of Wan-AI are Apache-2.0; those of Wan2.2 are 0.7 G numbers (2.8 GB in float32).
    """

    model: str = model_knob("Wan-AI/Wan2.2-TI2V-5B-Diffusers")
    subfolder: str = subfolder_knob("vae", "autoencoder")
    revision: str = revision_knob()
    config: dict[str, Any] = config_knob("diffusers.AutoencoderKLWan")
    precision: Precision = precision_knob("float32")
    slicing: bool = knob(True, help="take the clips of a batch one at a time, for less memory", off=False)
    tile: int = knob(
        0,
        help="height and width of the pieces that a picture is cut into, for less memory; they overlap by a quarter, and are blended there",
        unit="pixels",
        off=0,
        validator=_tile,
    )

    def build(self, *, format: Format) -> WanVAECodec:
        """The codec for frames of the format's size. Raises ValueError where the weights can't be had, or don't fit the size."""
        return WanVAECodec(self, format)


class WanVAECodec:
    """What `WanVAE` builds: a VideoCodec."""

    def __init__(self, spec: WanVAE, format: Format) -> None:
        from diffusers import AutoencoderKLWan

        self.spec, self.format = spec, format
        self._vae = diffusers_model(AutoencoderKLWan, WAN22, spec.config, spec.precision, spec.model, spec.subfolder, spec.revision)
        self.frozen = Frozen(self._vae)
        config = self._vae.config
        if config.scale_factor_temporal != FRAMES:
            raise ValueError(
                f"the autoencoder has {config.scale_factor_temporal} frames to a latent; this codec is for those with {FRAMES}"
            )
        stride = config.scale_factor_spatial
        for name in ("height", "width"):
            if getattr(format, name) % stride:
                raise ValueError(f"{name} {getattr(format, name)} is not a multiple of {stride}, the autoencoder's pixels to a latent")
        self.grid = (format.height // stride, format.width // stride)
        self.channels: int = config.z_dim
        self._mean, self._std = torch.tensor(config.latents_mean), torch.tensor(config.latents_std)
        if spec.slicing:
            self._vae.enable_slicing()
        if spec.tile:
            self._vae.enable_tiling(spec.tile, spec.tile, spec.tile * 3 // 4, spec.tile * 3 // 4)

    def to(self, device: torch.device | str) -> WanVAECodec:
        """Move the weights."""
        self.frozen.to(device)
        return self

    def latents(self, frames: int) -> int:
        """How many latents `frames` frames take: 1 + ceil((frames - 1) / 4)."""
        return latents_of(frames, FRAMES)

    def frames(self, latents: int) -> int:
        """How many frames `latents` latents hold: 1 + 4 (latents - 1)."""
        return steps_of(latents, FRAMES)

    def clock(self, latents: int) -> Tensor:
        """float64 [latents, 2] (start, end) in seconds: the first latent shows for one frame, every other for four."""
        return intervals(latents, FRAMES, 1 / Fraction(self.format.fps))

    @torch.no_grad()
    def encode(self, frames: Tensor) -> Tensor:
        """uint8 [B, F, H, W, 3] -> float32 [B, latents(F), h, w, C]; the last frame is repeated to fill the last latent."""
        size = (self.format.height, self.format.width, 3)
        if frames.ndim != 5 or frames.shape[2:] != size or frames.dtype != torch.uint8:
            raise ValueError(f"frames are uint8 [B, F, {', '.join(map(str, size))}], not {frames.dtype} {list(frames.shape)}")
        missing = self.frames(self.latents(frames.shape[1])) - frames.shape[1]
        frames = torch.cat([frames, frames[:, -1:].expand(-1, missing, -1, -1, -1)], dim=1).to(self.frozen.device)
        pixels = (frames.float() / 127.5 - 1).to(self.frozen.dtype)
        z = self._vae.encode(pixels.permute(0, 4, 1, 2, 3)).latent_dist.mode().permute(0, 2, 3, 4, 1)
        return (z.float() - self._mean.to(z.device)) / self._std.to(z.device)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """[B, T, h, w, C] -> uint8 [B, frames(T), H, W, 3]."""
        if latents.ndim != 5 or not latents.shape[1] or latents.shape[2:] != (*self.grid, self.channels):
            raise ValueError(f"latents are [B, T, {self.grid[0]}, {self.grid[1]}, {self.channels}], not {list(latents.shape)}")
        z = latents.to(self.frozen.device).float()
        z = (z * self._std.to(z.device) + self._mean.to(z.device)).to(self.frozen.dtype)
        pixels = self._vae.decode(z.permute(0, 4, 1, 2, 3)).sample.permute(0, 2, 3, 4, 1)
        return ((pixels.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
