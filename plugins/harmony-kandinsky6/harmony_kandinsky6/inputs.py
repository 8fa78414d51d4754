"""The inputs of Kandinsky 6's transformer: what it needs, and the frame of an image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from harmony_diffusers.joint import Joint
from harmony_parts.av import AV, Condition
from harmony_parts.codecs.protocol import AudioCodec, VideoCodec, grid_of
from harmony_parts.denoisers.protocol import KNOWN_LATENTS, Port
from harmony_parts.encoders.protocol import Encoder

JOINT = Joint(
    "Kandinsky 6",
    ports={
        "caption": Port("video", "context"),
        "pooled": Port("video", "add"),
        "image": KNOWN_LATENTS,
    },
    texts={"caption": "the text's tokens", "pooled": "the text as one token"},
    encoder="kandinsky6-text",
)
"""Its needs. Both streams read the text's tokens, and the mean of its pooled ones."""


def ports(
    config: Any, codecs: AV[VideoCodec | AudioCodec], encoders: Mapping[str, Encoder]
) -> dict[str, Port]:
    """The port of each condition. Raises AssemblyError with all mismatches."""
    widths = {
        "caption": config.in_text_dim,
        "pooled": config.in_text_dim2,
        "image": config.in_visual_dim,
    }
    image = any("image" in encoder.produces for encoder in encoders.values())
    return JOINT.accepts(
        AV(config.in_visual_dim, config.in_audio_dim),
        widths,
        codecs,
        encoders,
        _faults_of_form(config, codecs, image=image),
    )


def _faults_of_form(config: Any, codecs: AV[VideoCodec | AudioCodec], *, image: bool) -> list[str]:
    faults = []
    frames, *patch = config.patch_size
    if frames != 1:
        faults.append(f"patches of {frames} latents in time are not supported, only of one")
    if codecs.video is not None and any(
        n % p for n, p in zip(grid_of(codecs.video), patch, strict=True)
    ):
        faults.append(
            f"a picture has {' x '.join(map(str, grid_of(codecs.video)))} latents, but the model's"
            f" patches are of {' x '.join(map(str, patch))}: set format.height and format.width to"
            " multiples of both"
        )
    outputs = (config.out_visual_dim, config.out_audio_dim)
    if outputs != (config.in_visual_dim, config.in_audio_dim):
        faults.append(
            f"it predicts {outputs[0]} and {outputs[1]} channels, not a velocity of the latents;"
            " distilled models do, and are not supported"
        )
    if image and not (config.visual_cond and config.visual_token_type_num_embeddings > 1):
        faults.append(
            "this model takes no image (visual_cond, visual_token_type_num_embeddings): remove"
            " the encoder of 'image'"
        )
    return faults


def known_image(image: Condition | None, batch: int) -> list[bool]:
    """Which of the samples have a known image; on the meta device, none."""
    if image is None or image.mask.is_meta:
        return [False] * batch
    has: list[bool] = image.mask[:, 0].tolist()
    return has


def masked_mean(condition: Condition) -> Tensor:
    """[B, width]: the mean of the valid tokens, 0 without any."""
    valid = condition.mask[..., None].to(condition.tokens)
    # where, since a token that isn't valid may be anything
    tokens = condition.tokens.where(condition.mask[..., None], 0)
    return tokens.sum(1) / valid.sum(1).clamp(min=1)


def tail(config: Any, video: Tensor, image: Tensor | None) -> dict[str, Any]:
    """Latents [B, T, h, w, C] and a known image [B, 1, h, w, C] as the model's video inputs.

    The image is one more frame at the end, marked as clean, of type 1 and at the first frame's
    place in time.
    """
    (_, frames, h, w, _), device = video.shape, video.device
    extra: dict[str, Any] = {}
    if image is not None:
        video = torch.cat([video, image.to(video)], dim=1)
        types = torch.zeros(video.shape[:2], dtype=torch.long, device=device)
        types[:, frames:] = 1
        in_time = torch.arange(frames + 1, device=device) % frames
        _, high, wide = config.patch_size
        in_space = (torch.arange(n, device=device) for n in (h // high, w // wide))
        extra = {"visual_token_type_ids": types, "visual_rope_pos": (in_time, *in_space)}
    if config.visual_cond:  # a place for latents that the pipeline leaves empty, and the mark
        clean = torch.zeros_like(video[..., :1])
        clean[:, frames:] = 1
        video = torch.cat([video, torch.zeros_like(video), clean], dim=-1)
    return {"hidden_states": video} | extra
