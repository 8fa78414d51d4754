"""Latents to clips."""

from __future__ import annotations

from typing import cast

from torch import Tensor

from harmony_parts.av import AV, Format, as_tensor
from harmony_parts.codecs.protocol import AudioCodec, VideoCodec
from harmony_parts.media.clip import Clip


def decode_latents(
    latents: AV[Tensor],
    codecs: AV[VideoCodec | AudioCodec],
    format: Format,
    frames: int | None = None,
) -> list[Clip]:
    """Clips of `frames` frames (by default all that the latents hold) and their sound.

    A stream without latents is absent from the clips. Raises ValueError if there are none.
    """
    if not isinstance(latents, AV) or not tuple(latents):
        raise ValueError(
            "decode takes an AV with the latents of at least one stream, such as a step's"
            f" estimate, not {latents!r:.80}"
        )
    latents = latents.map(as_tensor)
    if frames is None:
        frames = _frames(latents, codecs, format)
    samples = format.samples(frames)
    cut: AV[tuple[slice, ...]] = AV(
        (slice(None), slice(frames)), (slice(None), slice(None), slice(samples))
    )
    made = latents.map(lambda x, codec, part: codec.decode(x)[part].cpu(), codecs, cut)
    pictures, sounds = made.video, made.audio
    return [
        Clip(
            None if pictures is None else pictures[i],
            format.fps,
            None if sounds is None else sounds[i],
            format.sample_rate,
        )
        for i in range(len(made[next(iter(made))]))
    ]


def _frames(latents: AV[Tensor], codecs: AV[VideoCodec | AudioCodec], format: Format) -> int:
    """How many frames the latents decode to; without video, how many the sound lasts."""
    if latents.video is not None:
        return cast(VideoCodec, codecs["video"]).frames(latents.video.shape[1])
    samples = cast(AudioCodec, codecs["audio"]).samples(latents["audio"].shape[1])
    return max(1, int(samples / format.sample_rate * format.fps))
