"""From tensors, and streams that are copied, to a container: mp4 or mkv."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path

import attrs
import torch
from torch import Tensor

from harmony_parts.errors import MediaError
from harmony_parts.media import ffmpeg
from harmony_parts.media.ffmpeg import Limits
from harmony_parts.media.read import constant, read_sound, sound_file
from harmony_parts.media.waveform import fit, resample

# What browsers and common players show from an mp4. ffmpeg would also put MPEG-1/2 there, which few
# of them play.
MP4_VIDEO = {"h264", "hevc", "av1", "vp9", "mpeg4"}
# Sound that is copied as it is; all other sound is decoded and kept as FLAC. MP3 is not copied for
# its delay, which mp4 and mkv don't note.
COPIED_SOUND = {
    ".mp4": {"aac", "ac3", "eac3", "opus"},
    ".mkv": {"aac", "ac3", "eac3", "opus", "mp2", "vorbis"},
}
MUXERS = {".mp4": "mp4", ".mkv": "matroska"}


@attrs.frozen(eq=False)
class Content:
    """What is written: the fields of a `Clip`, its exact `length` in seconds, and the `path` that
    errors name.
    """

    path: Path
    length: Fraction
    frames: Tensor | None
    fps: Fraction
    waveform: Tensor | None
    sample_rate: int


def write_container(
    part: Path,
    content: Content,
    *,
    copy_video_from: str | os.PathLike[str] | None,
    copy_sound_from: str | os.PathLike[str] | None,
    lossless: bool,
    quality: float,
    metadata: Mapping[str, str],
    limits: Limits,
) -> None:
    """Write `part`, in a folder of its own, as `Clip.save` describes it."""
    path, length, suffix = content.path, content.length, content.path.suffix.lower()
    inputs: list[str] = []
    video: list[str] = []
    audio: list[str] = []
    feed: Iterator[memoryview] = iter(())
    if copy_video_from is not None:
        given = _video_to_copy(path, Path(copy_video_from))
        assert given.video is not None
        # MPEG program streams don't stamp every packet; mkv asks for it.
        inputs += ["-fflags", "+genpts", *ffmpeg.source(given.path, offset=-given.video.start)]
        # Packets in decoding order, up to the end: those that frames before the end refer to are
        # among them.
        end = float(length - 1 / given.video.fps / 2)
        video = ["-map", "0:V:0", "-c:v", "copy", "-bsf:v", f"noise=drop=gte(dts*tb\\,{end:.9f})"]
    elif content.frames is not None:
        height, width = (n + n % 2 for n in content.frames.shape[1:3])
        inputs += ["-f", "rawvideo", "-pixel_format", "rgb24", "-video_size", f"{width}x{height}"]
        inputs += ["-framerate", str(constant(content.fps)), "-i", "pipe:0"]
        feed = _even_frames(content.frames)
        video = ["-map", "0:v:0", "-c:v", "libx264", "-crf", str(quality), "-bf", "0", "-vf"]
        video += [
            "scale=out_color_matrix=bt709:out_range=limited:flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp,format=yuv420p,"
            "setparams=range=limited:colorspace=bt709:color_primaries=bt709:color_trc=bt709"
        ]
    index = 1 if video else 0
    waveform, rate = content.waveform, content.sample_rate
    if copy_sound_from is not None:
        given = _sound_to_copy(Path(copy_sound_from))
        assert given.audio is not None
        if given.audio.codec in COPIED_SOUND[suffix]:
            inputs += ffmpeg.source(given.path, offset=-(given.video or given.audio).start)
            audio, waveform = ["-map", f"{index}:a:0", "-c:a", "copy"], None
        else:
            (waveform, rate), lossless = _decoded(given, length, limits), True
    if waveform is not None:
        waveform = waveform.detach().cpu()
        if not lossless:
            waveform, rate = resample(waveform, rate, 48000), 48000
        waveform = fit(waveform, round(length * rate)).T.contiguous()  # [samples, channels]
        raw = part.with_name("sound.raw")
        waveform.numpy().tofile(raw)
        channels = waveform.shape[1]
        inputs += ["-f", "f32le", "-ar", str(rate), "-ac", str(channels), "-i", str(raw)]
        audio = ["-map", f"{index}:a:0"]
        if lossless:
            scaled = waveform * 2**15
            short = bool(
                (scaled == scaled.round()).all()
                and (scaled >= -(2**15)).all()
                and (scaled < 2**15).all()
            )
            audio += ["-c:a", "flac", "-sample_fmt", "s16" if short else "s32"]
        else:
            audio += ["-c:a", "aac", "-b:a", f"{128 * channels}k"]
    # The end in microseconds, rounded up: sound is cut to the length above, to the sample; this
    # stops what is copied.
    end_us = math.ceil(length * 10**6)
    notes = "-1"
    if metadata:
        notes, noted = str(inputs.count("-i")), part.with_name("notes.txt")
        noted.write_text(_notes(metadata), encoding="utf-8")
        inputs += ["-f", "ffmetadata", "-i", str(noted)]
    tail = ["-t", f"{end_us}us", "-map_metadata", notes, "-map_chapters", "-1", "-strict", "-2"]
    tail += ["-movflags", "+faststart"] if suffix == ".mp4" else []
    ffmpeg.run(
        [*inputs, *video, *audio, *tail, "-f", MUXERS[suffix], str(part)], path, limits, feed=feed
    )


def check_copy(
    path: str | os.PathLike[str],
    *,
    copy_video_from: str | os.PathLike[str] | None = None,
    copy_sound_from: str | os.PathLike[str] | None = None,
) -> None:
    """Raise the MediaError that `Clip.save` to `path` would raise for what is to be copied, before
    there is a clip.
    """
    if copy_video_from is not None:
        _video_to_copy(Path(path), Path(copy_video_from))
    if copy_sound_from is not None:
        _sound_to_copy(Path(copy_sound_from))


def _video_to_copy(path: Path, given: Path) -> ffmpeg.Probe:
    """What `given` holds: a video that the container of `path` takes as it is. Raises
    MediaError.
    """
    held = _required(ffmpeg.probe(given), "video")
    assert held.video is not None
    causes: dict[str, str] = {}  # container -> why it doesn't take it
    if held.video.codec not in MP4_VIDEO:
        causes[".mp4"] = f"players expect {', '.join(sorted(MP4_VIDEO))} in mp4"
    if causes or path.suffix.lower() == ".mkv":
        if ffmpeg.hidden_lead(given, held.video):
            causes[".mkv"] = "an edit list hides its first frames, and mkv has none"
        elif not ffmpeg.takes(MUXERS[".mkv"], given):
            causes[".mkv"] = "mkv doesn't hold this codec"
    if cause := causes.get(path.suffix.lower()):
        other = next(
            (path.with_suffix(suffix).name for suffix in MUXERS if suffix not in causes), None
        )
        remedy = (
            f"write {other} (`--out {other}`), which takes it as it is"
            if other
            else "encode it anew first, as H.264"
        )
        raise MediaError(
            f"{given}: its {held.video.codec} video can't be copied into {path.name}: {cause};"
            f" {remedy}"
        )
    return held


def _sound_to_copy(given: Path) -> ffmpeg.Probe:
    return _required(ffmpeg.probe(given), "audio")


def _required(probe: ffmpeg.Probe, stream: str) -> ffmpeg.Probe:
    if getattr(probe, stream) is None:
        raise MediaError(
            f"{probe.path}: has no {'sound' if stream == 'audio' else 'video'} to copy"
        )
    return probe


def _decoded(given: ffmpeg.Probe, length: Fraction, limits: Limits) -> tuple[Tensor, int]:
    """The sound of a file as `Clip.read` places it, decoded, and its rate."""
    assert given.audio is not None
    if found := sound_file(given.path, Fraction(0), length, limits):
        return found
    origin = (given.video or given.audio).start
    return (
        read_sound(given.path, given.audio, origin, Fraction(0), length, limits),
        given.audio.sample_rate,
    )


def _notes(metadata: Mapping[str, str]) -> str:
    """ffmpeg's text format of metadata: =, ;, #, the backslash and line breaks are escaped; a NUL
    would end the text.
    """
    written = [
        key + "=" + re.sub(r"([=;#\\\n])", r"\\\1", text.replace("\0", ""))
        for key, text in metadata.items()
    ]
    return "\n".join([";FFMETADATA1", *written, ""])


def _even_frames(frames: Tensor) -> Iterator[memoryview]:
    """Frames as bytes, a few at a time, odd sizes continued by their last row and column."""
    for block in frames.split(max(1, (1 << 24) // frames[0].numel())):
        if block.shape[1] % 2:
            block = torch.cat([block, block[:, -1:]], dim=1)
        if block.shape[2] % 2:
            block = torch.cat([block, block[:, :, -1:]], dim=2)
        yield memoryview(block.cpu().contiguous().numpy()).cast("B")
