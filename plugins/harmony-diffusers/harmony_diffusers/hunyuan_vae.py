"""Video latents of HunyuanVideo, through diffusers' AutoencoderKLHunyuanVideo."""

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
    saved_form,
    subfolder_knob,
)
from harmony_parts.av import Format


@attrs.frozen
class HunyuanVAE:
    """The causal video autoencoder of HunyuanVideo, as in Kandinsky 6: 16 channels.

    A latent has 4 frames of 8 x 8 pixels, the first one has one frame. Frames uint8 [B, F, H, W, 3]
    <-> latents [B, T, H / 8, W / 8, 16], F = 1 + 4 (T - 1): the mean of the distribution times the
    configuration's scaling factor. As in diffusers, a clip of more than 16 frames is processed in
    pieces of 16, which overlap and are blended. Input is moved to the weights' device, and the
    result stays there. The default configuration has 246 M parameters (1.0 GB in float32). Source:
    arXiv:2412.03603. Tencent's weights are under the Tencent Hunyuan Community License, those in
    another model's folder under what its card says: read it before use.
    """

    model: str = model_knob("hunyuanvideo-community/HunyuanVideo")
    subfolder: str = subfolder_knob("vae", "autoencoder")
    revision: str = revision_knob()
    config: dict[str, Any] = config_knob("diffusers.AutoencoderKLHunyuanVideo")
    precision: Precision = precision_knob("float32")
    slicing: bool = slicing_knob()
    tile: int = tile_knob(32)

    def build(self, *, format: Format) -> HunyuanVAECodec:
        """The codec for frames of the format's size.

        Raises ValueError if the weights can't be loaded, or the size isn't supported.
        """
        return HunyuanVAECodec(self, format)


class HunyuanVAECodec(CausalVideoCodec):
    """The VideoCodec of `HunyuanVAE`."""

    def __init__(self, spec: HunyuanVAE, format: Format) -> None:
        from diffusers import AutoencoderKLHunyuanVideo

        vae = diffusers_model(
            AutoencoderKLHunyuanVideo,
            saved_form(AutoencoderKLHunyuanVideo, spec.model, spec.subfolder),
            spec.config,
            spec.precision,
            spec.model,
            spec.subfolder,
            spec.revision,
        )
        channels = vae.config.latent_channels
        super().__init__(
            vae,
            format,
            step=vae.config.temporal_compression_ratio,
            stride=vae.config.spatial_compression_ratio,
            channels=channels,
            mean=torch.zeros(channels, device="cpu"),
            std=torch.full((channels,), 1 / vae.config.scaling_factor, device="cpu"),
            slicing=spec.slicing,
            tile=spec.tile,
        )
