"""Video latents of Wan2.2 or Wan2.1, through diffusers' AutoencoderKLWan."""

from __future__ import annotations

from typing import Any

import attrs
import torch

from harmony_diffusers.causal_video import CausalVideoCodec, tile_multiple
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


@attrs.frozen
class WanVAE:
    """The causal video autoencoder of Wan2.2 (48 channels, 16 x 16 pixels and 4 frames to a latent)
    or Wan2.1 (16 channels, 8 x 8).

    Frames uint8 [B, F, H, W, 3] <-> latents [B, T, H / 16, W / 16, 48], F = 1 + 4 (T - 1): (mean of
    the distribution - mean) / std, per channel, as the weights' own configuration has them. Frames
    and latents are moved to the weights' device, and the result is there. Source: arXiv:2503.20314.
    The weights of Wan-AI are Apache-2.0; those of Wan2.2 are 0.7 G numbers (2.8 GB in float32).
    """

    model: str = model_knob("Wan-AI/Wan2.2-TI2V-5B-Diffusers")
    subfolder: str = subfolder_knob("vae", "autoencoder")
    revision: str = revision_knob()
    config: dict[str, Any] = config_knob("diffusers.AutoencoderKLWan")
    precision: Precision = precision_knob("float32")
    slicing: bool = knob(
        True, help="take the clips of a batch one at a time, for less memory", off=False
    )
    tile: int = knob(
        0,
        help=(
            "height and width of the pieces that a picture is cut into, for less memory; they"
            " overlap by a quarter, and are blended there"
        ),
        unit="pixels",
        off=0,
        validator=tile_multiple(64),
    )

    def build(self, *, format: Format) -> WanVAECodec:
        """The codec for frames of the format's size. Raises ValueError where the weights can't be
        had, or don't fit the size.
        """
        return WanVAECodec(self, format)


class WanVAECodec(CausalVideoCodec):
    """What `WanVAE` builds: a VideoCodec."""

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
                f"the autoencoder has {config.scale_factor_temporal} frames to a latent; this codec"
                f" is for those with {FRAMES}"
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
