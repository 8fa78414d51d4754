"""Clips to latents."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from harmony_parts.av import AV, Format, channel_layout
from harmony_parts.codecs.protocol import AudioCodec, VideoCodec
from harmony_parts.data.protocol import Example
from harmony_parts.errors import RunError
from harmony_parts.media.clip import Clip


def encode_examples(
    examples: Sequence[Example],
    format: Format,
    codecs: AV[VideoCodec | AudioCodec],
    device: torch.device,
) -> AV[Tensor]:
    """Latents of examples whose clips are in the model's format, of every stream with a codec.

    Raises RunError, naming the example, if a clip lacks a stream or isn't in the format.
    """
    for example in examples:
        _check_format(example, format, codecs)
    return encode_clips([example.clip for example in examples], codecs, device)


def encode_clips(
    clips: Sequence[Clip], codecs: AV[VideoCodec | AudioCodec], device: torch.device
) -> AV[Tensor]:
    """Latents of clips of one length, on `device`: video [B, T_v, H, W, C], audio [B, T_a, C].

    The clips are in the codecs' format: frame size, sample rate, channels of the sound. A stream
    that no clip has, or that has no codec, is absent. Raises ValueError if only some of the clips
    have a stream.
    """
    frames = [clip.frames for clip in clips if clip.frames is not None]
    sounds = [clip.waveform for clip in clips if clip.waveform is not None]
    for what, some in (("frames", frames), ("sound", sounds)):
        if len(some) not in (0, len(clips)):
            raise ValueError(
                f"{len(some)} of {len(clips)} clips have {what}; give clips that all have them, or"
                " none"
            )
    streams: AV[list[Tensor]] = AV(frames or None, sounds or None)
    with torch.no_grad():
        return streams.map(
            lambda stream, codec: codec.encode(torch.stack(stream).to(device)).to(device), codecs
        )


def _check_format(example: Example, format: Format, codecs: AV[VideoCodec | AudioCodec]) -> None:
    clip = example.clip
    if codecs.video is not None:
        size = [format.frames, format.height, format.width, 3]
        if clip.frames is None or list(clip.frames.shape) != size:
            seen = "no frames" if clip.frames is None else f"frames of {list(clip.frames.shape)}"
            raise RunError(f"{example.name}: has {seen}; the model's format is {size}")
    if codecs.audio is not None:
        wanted = _sound([format.channels, format.samples(format.frames)], format.sample_rate)
        has = "no sound"
        if clip.waveform is not None:
            has = _sound(clip.waveform.shape, clip.sample_rate)
        if has != wanted:
            raise RunError(f"{example.name}: has {has}; the model's format is {wanted}")


def _sound(shape: Sequence[int], rate: int) -> str:
    return f"{shape[1]} samples at {rate} Hz, {channel_layout(shape[0])}"
