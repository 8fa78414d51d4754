"""Video latents of MiniMax-H3, through diffusers' AutoencoderKLMiniMaxH3."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import attrs
import torch
from torch import Tensor

from harmony_diffusers.causal_video import CausalVideoCodec, slicing_knob
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
from harmony_parts.plugin import knob

# ImageNet's, which MiniMaxH3ModularPipeline has as properties of a pipeline with all its parts
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SHORTEST = 3  # latents that diffusers' decoder needs; it repeats the last one after them


@attrs.frozen
class MiniMaxH3Video:
    """The video autoencoder of MiniMax-H3: 24 channels, latents of 16 x 16 pixels.

    Pieces of 17 frames have 5 latents each: the first one has one frame, the others four. Frames
    uint8 [B, F, H, W, 3] <-> latents [B, T, H / 16, W / 16, 24]; F = 17 n + 5 frames have T = 5 n +
    2 latents, other numbers of frames are filled up to that, but for a picture alone, which has one
    latent. A latent is (z - mean) / std per channel, z the mean of the distribution, which
    diffusers' pipeline draws a sample of. The encoder is causal, and kept in float32 in any
    precision; the decoder is neither. Input is moved to the weights' device, and the result stays
    there. The default configuration has 2.6 G parameters. Source: diffusers'
    MiniMaxH3ModularPipeline. The weights' licence is on their card: read
    it before use.
    """

    model: str = model_knob("")
    subfolder: str = subfolder_knob("vae", "autoencoder")
    revision: str = revision_knob()
    config: dict[str, Any] = config_knob("diffusers.AutoencoderKLMiniMaxH3")
    precision: Precision = precision_knob("float32")
    slicing: bool = slicing_knob()
    tile: int = knob(
        256,
        help=(
            "height and width of the tiles that a picture is split into; they overlap by at least a"
            " quarter and are blended there. The weights were published with 256, and frames differ"
            " with others"
        ),
        unit="pixels",
        off=0,
        source="diffusers' AutoencoderKLMiniMaxH3",
    )

    @tile.validator
    def _whole_latents(self, attribute: attrs.Attribute[int], value: int) -> None:
        if value < 0 or value % 64:
            raise ValueError(f"tile must be 0 or a multiple of 64 pixels, not {value}")

    def build(self, *, format: Format) -> MiniMaxH3VideoCodec:
        """The codec for frames of the format's size.

        Raises ValueError if the weights can't be loaded, or the size isn't supported.
        """
        return MiniMaxH3VideoCodec(self, format)


class MiniMaxH3VideoCodec(CausalVideoCodec):
    """The VideoCodec of `MiniMaxH3Video`."""

    def __init__(self, spec: MiniMaxH3Video, format: Format) -> None:
        from diffusers import AutoencoderKLMiniMaxH3

        vae = diffusers_model(
            AutoencoderKLMiniMaxH3,
            saved_form(AutoencoderKLMiniMaxH3, spec.model, spec.subfolder),
            spec.config,
            spec.precision,
            spec.model,
            spec.subfolder,
            spec.revision,
        )
        config = vae.config
        form = (config.clip_length, vae.tokens_chunk_size, config.token_drop)
        if form != (17, 5, 3) or vae.temporal_compression_ratio != 4:
            raise ValueError(
                f"the autoencoder has {form[1]} latents for {form[0]} frames and leaves out"
                f" {form[2]} (clip_length, token_drop); only 5 for 17, without 3, is supported"
            )
        super().__init__(
            vae,
            format,
            step=4,
            stride=vae.spatial_compression_ratio,
            channels=config.latent_channels,
            mean=torch.tensor(config.latents_mean, device="cpu"),
            std=torch.tensor(config.latents_std, device="cpu"),
            slicing=spec.slicing,
            tile=spec.tile,
        )
        if not spec.tile:
            vae.disable_tiling()

    def latents(self, frames: int) -> int:
        """Number of latents of `frames` frames: 1 of one, else the next 5 n + 2."""
        if frames < 1:
            raise ValueError(f"a clip has at least one frame, not {frames}")
        return 1 if frames == 1 else 2 + 5 * max(0, -((5 - frames) // 17))

    def frames(self, latents: int) -> int:
        """Number of frames of `latents` latents: 17 for 5, 1 + 4 (k - 1) for the k that remain."""
        if latents < 1:
            raise ValueError(f"a clip has at least one latent, not {latents}")
        return begin(latents)

    def clock(self, latents: int) -> Tensor:
        """float64 [latents, 2] (start, end) in seconds; every fifth latent lasts one frame."""
        frame = 1 / Fraction(self.format.fps)
        edges = torch.tensor([begin(k) for k in range(latents + 1)], dtype=torch.float64)
        edges = edges * frame.numerator / frame.denominator
        return torch.stack([edges[:-1], edges[1:]], dim=1)

    def decode(self, latents: Tensor) -> Tensor:
        """[B, T, h, w, C] -> uint8 [B, frames(T), H, W, 3]."""
        few = latents.ndim == 5 and 0 < latents.shape[1] < SHORTEST
        if not few:
            return super().decode(latents)
        more = latents[:, -1:].expand(-1, SHORTEST - latents.shape[1], -1, -1, -1)
        whole = super().decode(torch.cat([latents, more], dim=1))
        return whole[:, : self.frames(latents.shape[1])]

    def _tile(self, tile: int) -> None:
        self._vae.enable_tiling(tile, tile, tile // 4, tile // 4)

    def _pixels(self, frames: Tensor) -> Tensor:
        mean, std = (torch.tensor(each, device=frames.device) for each in (MEAN, STD))
        return (frames.float() / 255 - mean) / std

    def _values(self, pixels: Tensor) -> Tensor:
        mean, std = (torch.tensor(each, device=pixels.device) for each in (MEAN, STD))
        return (pixels * std + mean) * 255


def begin(latent: int) -> int:
    """The first frame of a latent, counted from 0."""
    pieces, rest = divmod(latent, 5)
    return 17 * pieces + (1 + 4 * (rest - 1) if rest else 0)
