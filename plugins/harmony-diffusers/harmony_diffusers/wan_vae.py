"""Video latents of Wan2.2 or Wan2.1, through diffusers' AutoencoderKLWan."""

from __future__ import annotations

from typing import Any

import attrs
import torch

from harmony_diffusers.causal_video import CausalVideoCodec, slicing_knob, tile_knob
from harmony_diffusers.frozen import (
    Precision,
    config_knob,
    diffusers_model,
    model_knob,
    precision_knob,
    revision_knob,
    subfolder_knob,
)
from harmony_parts.av import Format

FRAMES = 4  # frames of every latent but the first; hard-coded in diffusers' loops

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
    "latents_mean": [0.0] * 48,  # a folder with weights has their own values
    "latents_std": [1.0] * 48,
}
"""The configuration of Wan2.2-TI2V-5B's autoencoder (0.7 G), to count without weights."""


@attrs.frozen
class WanVAE:
    """The causal video autoencoder of Wan2.2 (48 channels) or Wan2.1 (16 channels).

    A latent has 4 frames of 16 x 16 pixels (Wan2.1: 8 x 8). Frames uint8 [B, F, H, W, 3] <->
    latents [B, T, H / 16, W / 16, 48], F = 1 + 4 (T - 1): (mean of the distribution - mean) / std,
    per channel, with mean and std of the weights' configuration. Input is moved to the weights'
    device, and the result stays there. Source: arXiv:2503.20314. The weights of Wan-AI are
    Apache-2.0; those of Wan2.2 are 0.7 G parameters (2.8 GB in float32).
    """

    model: str = model_knob("Wan-AI/Wan2.2-TI2V-5B-Diffusers")
    subfolder: str = subfolder_knob("vae", "autoencoder")
    revision: str = revision_knob()
    config: dict[str, Any] = config_knob("diffusers.AutoencoderKLWan")
    precision: Precision = precision_knob("float32")
    slicing: bool = slicing_knob()
    tile: int = tile_knob(64)

    def build(self, *, format: Format) -> WanVAECodec:
        """The codec for frames of the format's size.

        Raises ValueError if the weights can't be loaded, or the size isn't supported.
        """
        return WanVAECodec(self, format)


class WanVAECodec(CausalVideoCodec):
    """The VideoCodec of `WanVAE`."""

    def __init__(self, spec: WanVAE, format: Format) -> None:
        from diffusers import AutoencoderKLWan

        vae = diffusers_model(
            AutoencoderKLWan,
            WAN22,
            spec.config,
            spec.precision,
            spec.model,
            spec.subfolder,
            spec.revision,
        )
        config = vae.config
        if config.scale_factor_temporal != FRAMES:
            raise ValueError(
                f"the autoencoder has {config.scale_factor_temporal} frames per latent; this codec"
                f" supports only {FRAMES}"
            )
        super().__init__(
            vae,
            format,
            step=FRAMES,
            stride=config.scale_factor_spatial,
            channels=config.z_dim,
            mean=torch.tensor(config.latents_mean),
            std=torch.tensor(config.latents_std),
            slicing=spec.slicing,
            tile=spec.tile,
        )
