"""Twice as large video latents of LTX-2, through diffusers' LTX2LatentUpsamplerModel."""

from __future__ import annotations

from typing import Any

import attrs
import torch
from torch import Tensor

from harmony_diffusers.frozen import (
    Frozen,
    FrozenModule,
    Precision,
    config_knob,
    diffusers_model,
    model_knob,
    precision_knob,
    revision_knob,
    subfolder_knob,
)
from harmony_ltx2.video import LTX2VideoCodec


@attrs.frozen
class LTX2Upsampler:
    """The network between the two stages of LTX-2: a clip of small frames, enlarged, then refined.

    Its result is a draft of a pipeline with frames of that size, which the second stage starts from
    at time 0.909375 (`draft` and `strength`). Source: diffusers, LTX2LatentUpsamplePipeline. The
    weights are under the LTX-2 Community License.
    """

    model: str = model_knob("Lightricks/LTX-2")
    subfolder: str = subfolder_knob("latent_upsampler", "latent upsampler")
    revision: str = revision_knob()
    config: dict[str, Any] = config_knob("LTX2LatentUpsamplerModel of diffusers.pipelines.ltx2")
    precision: Precision = precision_knob("bfloat16")

    def build(self, codec: LTX2VideoCodec) -> LatentUpsampler:
        """The upsampler of this codec's latents.

        Raises ValueError if the weights can't be loaded, or are for other latents.
        """
        from diffusers.pipelines.ltx2.latent_upsampler import LTX2LatentUpsamplerModel

        network = diffusers_model(
            LTX2LatentUpsamplerModel,
            {},
            self.config,
            self.precision,
            self.model,
            self.subfolder,
            self.revision,
        )
        if network.in_channels != codec.channels or network.temporal_upsample:
            raise ValueError(
                f"this upsampler is for {network.in_channels} channels"
                f"{' and makes more frames' if network.temporal_upsample else ''}; the codec's"
                f" latents have {codec.channels}, of which only height and width grow"
            )
        return LatentUpsampler(network, codec)


class LatentUpsampler(FrozenModule):
    """Latents [B, T, h, w, C] -> [B, T, s h, s w, C], with the network's scale s, usually 2."""

    def __init__(self, network: Any, codec: LTX2VideoCodec) -> None:
        super().__init__()
        self.frozen = Frozen(network)
        self.codec = codec

    @torch.no_grad()
    def forward(self, latents: Tensor) -> Tensor:
        """Of latents in the codec's scale, of any height and width; the result is float32."""
        z = self.codec.unscaled(latents.to(self.frozen.device)).to(self.frozen.dtype)
        larger = self.frozen.models[0](z.permute(0, 4, 1, 2, 3))
        return self.codec.scaled(larger.permute(0, 2, 3, 4, 1))
