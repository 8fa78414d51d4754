"""Clips to latents, prompts to conditions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from harmony_parts.av import AV, Condition, Format, Prompt
from harmony_parts.codecs.protocol import AudioCodec, VideoCodec
from harmony_parts.data.protocol import Example
from harmony_parts.errors import RunError


def encode(
    examples: Sequence[Example],
    format: Format,
    codecs: AV[VideoCodec | AudioCodec],
    device: torch.device,
) -> AV[Tensor]:
    """Latents of clips in the model's format. Raises RunError for a clip that isn't."""
    frames, samples = [], []
    for example in examples:
        clip = example.clip
        if codecs.video is not None:
            if clip.frames is None or tuple(clip.frames.shape) != (
                format.frames,
                format.height,
                format.width,
                3,
            ):
                seen = (
                    "no picture" if clip.frames is None else f"frames of {list(clip.frames.shape)}"
                )
                raise RunError(
                    f"{example.name}: has {seen}; the model's format is"
                    f" {[format.frames, format.height, format.width, 3]}"
                )
            frames.append(clip.frames)
        if codecs.audio is not None:
            wanted = (format.samples(format.frames), format.sample_rate)
            if clip.waveform is None or (clip.waveform.shape[1], clip.sample_rate) != wanted:
                seen = (
                    "no sound"
                    if clip.waveform is None
                    else f"{clip.waveform.shape[1]} samples at {clip.sample_rate} Hz"
                )
                raise RunError(
                    f"{example.name}: has {seen}; the model's format is {wanted[0]} samples at"
                    f" {wanted[1]} Hz"
                )
            samples.append(clip.mono())
    given: AV[list[Tensor]] = AV(frames or None, samples or None)
    with torch.no_grad():
        return given.map(
            lambda stream, codec: codec.encode(torch.stack(stream).to(device)).to(device), codecs
        )


def is_frozen(encoder: nn.Module) -> bool:
    """Whether what it says of a prompt stays the same throughout a run."""
    return not any(parameter.requires_grad for parameter in encoder.parameters())


def conditions_of(encoders: Iterable[nn.Module], prompts: Sequence[Prompt]) -> dict[str, Condition]:
    """What the encoders say of the prompts, by name."""
    return {name: condition for encoder in encoders for name, condition in encoder(prompts).items()}
