"""Clips and files, brought to a model's format. Importing this module imports no torch."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from harmony_parts.av import Format, as_tensor, described
from harmony_parts.errors import RequestError
from harmony_parts.generate.fields import is_media
from harmony_parts.generate.generated import Generated

if TYPE_CHECKING:
    from torch import Tensor

    from harmony_parts.generate.fields import Media
    from harmony_parts.media.clip import Clip


def clip_of(media: Any) -> Clip:
    """The clip of media that are no file."""
    clip: Clip = media.clip if isinstance(media, Generated) else media
    return clip


def read_media(name: str, media: Any, what: str, **size: Any) -> Clip | None:
    """The clip of a media field, which must have `what`: "frames", "sound" or "", either."""
    from harmony_parts.media.clip import Clip

    if media is None:
        return None
    if isinstance(media, str | os.PathLike):
        streams = {"frames": {"video"}, "sound": {"audio"}}.get(what)
        clip = Clip.read(media, streams=streams, **size)
        if clip.waveform is not None and not clip.waveform.shape[-1]:
            raise RequestError(f"{media}: the sound that is given as {name} has no samples")
        return clip
    clip = clip_of(media)
    if what and (clip.frames if what == "frames" else clip.waveform) is None:
        raise RequestError(f"the clip that is given as {name} has no {what}")
    return clip


def clips_in(media: Sequence[Media], format: Format, streams: Collection[str]) -> list[Clip]:
    """Clips or files in a model's format, with those of its streams that they have.

    Each keeps its length, with frames a whole number of them. Raises RequestError, with the lengths
    that they have in the format, if these differ, or if a clip has none of the streams.
    """
    if is_media(media):
        raise RequestError(f"give a list of clips or files, such as [{media!r:.80}]")
    clips = [_alone(n, each, format, streams) for n, each in enumerate(media, 1)]
    for stream, part, rate in (("video", "frames", format.fps), ("audio", "waveform", None)):
        sizes = [t.shape[0 if rate else 1] for c in clips if (t := getattr(c, part)) is not None]
        if len(set(sizes)) > 1:
            lengths = ", ".join(f"{float(n / (rate or format.sample_rate)):.4g} s" for n in sizes)
            counts = ", ".join(map(str, sizes))
            unit = f"frames at {float(format.fps):g} fps" if rate else "samples"
            raise RequestError(
                f"clips that are encoded together have one length, and their {stream} lasts"
                f" {lengths} ({counts} {unit} in the model's format): cut them to one length, or"
                " encode each by itself"
            )
    return clips


def _alone(number: int, media: Media, format: Format, streams: Collection[str]) -> Clip:
    """One clip in the format; `number` is for errors."""
    from harmony_parts.media.clip import Clip

    name = f"clip {number}"
    clip = read_media(name, media, "", height=format.height, width=format.width)
    assert clip is not None
    frames = clip.frames if "video" in streams else None
    sound = clip.waveform if "audio" in streams else None
    if frames is None and sound is None:
        raise RequestError(f"{name} has no stream that the model has: {', '.join(streams)}")
    clip = attrs.evolve(clip, frames=frames, waveform=sound)
    if frames is None:
        return Clip(None, format.fps, sound_in(name, clip, format), format.sample_rate)
    return clip_in(name, clip, format, frames_of(clip, format))


def sound_in(name: str, clip: Clip, format: Format) -> Tensor:
    """[channels, samples]: the sound with the format's channels, at its rate."""
    from harmony_parts.media.waveform import resample, to_channels

    assert clip.waveform is not None
    if not clip.waveform.isfinite().all():
        raise RequestError(f"the given {name} has samples that aren't finite numbers")
    try:
        sound = to_channels(clip.waveform, format.channels)
    except ValueError as error:
        raise RequestError(f"{name}: {error}") from error
    return resample(sound, clip.sample_rate, format.sample_rate)


def frames_of(clip: Clip, format: Format) -> int:
    """The frames of a clip at the format's rate; without frames, the whole ones of its sound."""
    from harmony_parts.media.frames import frames_for

    if clip.frames is not None:
        return frames_for(len(clip.frames), clip.fps, format.fps)
    return max(1, int(clip.seconds * format.fps))


def clip_in(name: str, clip: Clip, format: Format, count: int) -> Clip:
    """The clip in the model's format, `count` frames of the streams that it has."""
    from harmony_parts.media.clip import Clip
    from harmony_parts.media.waveform import fit

    sound = None
    if clip.waveform is not None:
        sound = fit(sound_in(name, clip, format), format.samples(count))
    frames = None if clip.frames is None else frames_in(clip, format, count)
    return Clip(frames, format.fps, sound, format.sample_rate)


def picture_in(name: str, picture: Any, format: Format) -> Tensor | None:
    """[H, W, 3]: a picture, or the first frame of a clip or file, at the format's size."""
    from torch import Tensor

    from harmony_parts.media.clip import Clip

    picture = as_tensor(picture)
    if isinstance(picture, Tensor):
        try:
            picture = Clip(frames=picture[None])
        except ValueError:
            raise RequestError(
                f"{name} must be uint8 [H, W, 3], not {described(picture)}"
            ) from None
    first = read_media(name, picture, "frames", height=format.height, width=format.width)
    return None if first is None else covered(first, format, 1)[0]


def frames_in(clip: Clip, format: Format, count: int) -> Tensor:
    """[count, H, W, 3]: the frames at the format's size and rate."""
    from harmony_parts.media.frames import regrid

    return regrid(covered(clip, format), clip.fps, format.fps, count)


def covered(clip: Clip, format: Format, first: int | None = None) -> Tensor:
    """The (first) frames, scaled and cropped to the format's size."""
    from harmony_parts.media.frames import cover

    assert clip.frames is not None
    return cover(clip.frames[:first], format.height, format.width)
