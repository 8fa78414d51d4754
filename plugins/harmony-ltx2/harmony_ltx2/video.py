"""Video latents of LTX-2, through diffusers' AutoencoderKLLTX2Video."""

from __future__ import annotations

from typing import Any

import attrs

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

FULL: dict[str, Any] = {
    "decoder_causal": False,
    "spatial_compression_ratio": 32,
    "temporal_compression_ratio": 8,
}
"""The configuration of LTX-2's autoencoder beside diffusers' defaults, to count without weights."""


@attrs.frozen
class LTX2Video:
    """The causal video autoencoder of LTX-2: 128 channels, a latent has 8 frames of 32 x 32 pixels.

    The first latent has one frame. Frames uint8 [B, F, H, W, 3] <-> latents [B, T, H / 32, W / 32,
    128], F = 1 + 8 (T - 1): (mean of the distribution - mean) scale / std, per channel, with the
    weights' values. Input is moved to the weights' device, and the result stays there. The default
    configuration has 1.2 G parameters (4.9 GB in float32). Source: arXiv:2601.03233. The weights
    are under the LTX-2 Community License: read it before use.
    """

    model: str = model_knob("Lightricks/LTX-2")
    subfolder: str = subfolder_knob("vae", "autoencoder")
    revision: str = revision_knob()
    config: dict[str, Any] = config_knob("diffusers.AutoencoderKLLTX2Video")
    precision: Precision = precision_knob("float32")
    slicing: bool = slicing_knob()
    tile: int = tile_knob(128)

    def build(self, *, format: Format) -> LTX2VideoCodec:
        """The codec for frames of the format's size.

        Raises ValueError if the weights can't be loaded, or the size isn't supported.
        """
        return LTX2VideoCodec(self, format, self.autoencoder())

    def autoencoder(self) -> Any:
        """diffusers' model, which codecs of several sizes can share. Raises ValueError."""
        from diffusers import AutoencoderKLLTX2Video

        return diffusers_model(
            AutoencoderKLLTX2Video,
            FULL,
            self.config,
            self.precision,
            self.model,
            self.subfolder,
            self.revision,
        )


class LTX2VideoCodec(CausalVideoCodec):
    """The VideoCodec of `LTX2Video`, with diffusers' autoencoder `vae`."""

    def __init__(self, spec: LTX2Video, format: Format, vae: Any) -> None:
        config = vae.config
        if config.timestep_conditioning or any(config.decoder_inject_noise):
            raise ValueError(
                "this autoencoder's decoder adds noise (timestep_conditioning,"
                " decoder_inject_noise), but a codec must be deterministic"
            )
        super().__init__(
            vae,
            format,
            step=vae.temporal_compression_ratio,
            stride=vae.spatial_compression_ratio,
            channels=config.latent_channels,
            mean=vae.latents_mean.float(),
            std=vae.latents_std.float() / config.scaling_factor,
            slicing=spec.slicing,
            tile=spec.tile,
        )
        tiled = spec.tile and max(format.height, format.width) > spec.tile
        part = spec.tile * 3 // 4 // vae.spatial_compression_ratio if tiled else max(self.grid)
        # the decoder pads by reflection, which needs two latents
        if any((n - 1) % part == 0 for n in self.grid):
            raise ValueError(
                f"{format.width} x {format.height} gives tiles of a single latent (tile"
                f" {spec.tile}): choose another size or tile"
            )
