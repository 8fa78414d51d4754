"""Write mp4, mkv, webm and gif files from tensors and from streams that are copied."""

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
from harmony_parts.media.probe import Probe, copies_into, hidden_lead, probe
from harmony_parts.media.read import read_sound, sound_file
from harmony_parts.media.waveform import fit, resample

# What browsers and common players show from an mp4. ffmpeg also writes MPEG-1/2 there, which few
# of them play.
MP4_VIDEO = {"h264", "hevc", "av1", "vp9", "mpeg4"}
# Sound that is copied; all other sound is decoded and stored as FLAC. MP3 isn't copied because of
# its decoder delay, which mp4 and mkv don't record.
COPIED_SOUND = {
    ".mp4": {"aac", "ac3", "eac3", "opus"},
    ".mkv": {"aac", "ac3", "eac3", "opus", "mp2", "vorbis"},
    ".webm": {"opus", "vorbis"},
}
WEBM_VIDEO = {"vp8", "vp9", "av1"}
MUXERS = {".mp4": "mp4", ".mkv": "matroska", ".webm": "webm", ".gif": "gif"}
PALETTE = "split[a][b];[a]palettegen=stats_mode=full[p];[b][p]paletteuse=dither=sierra2_4a"

Arguments = tuple[list[str], list[str]]
"""ffmpeg's arguments for one stream: of its input, and of its output."""


@attrs.frozen(eq=False)
class Content:
    """What to write: a `Clip`'s fields, its exact `length` in seconds, the `path` for errors."""

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
    """Write `content` to `part`, in a temporary folder, as `Clip.save` describes."""
    path, length, suffix = content.path, content.length, content.path.suffix.lower()
    inputs: list[str] = []
    outputs: list[str] = []

    def add(stream: Arguments) -> None:
        inputs.extend(stream[0])
        outputs.extend(stream[1])

    feed: Iterator[memoryview] = iter(())
    if copy_video_from is not None:
        given = _video_to_copy(path, Path(copy_video_from))
        add(_copied_video(given, length, _encoder(quality, suffix)))
    elif content.frames is not None:
        add(_encoded_video(content.frames, content.fps, quality, suffix))
        feed = _even_frames(content.frames)
    waveform, rate = content.waveform, content.sample_rate
    if suffix == ".gif":  # it has no sound, and no metadata
        waveform, metadata = None, {}
    if copy_sound_from is not None:
        given = _sound_to_copy(Path(copy_sound_from))
        assert given.audio is not None
        if given.audio.codec in COPIED_SOUND[suffix]:
            add(_copied_sound(given, inputs.count("-i")))
            waveform = None
        else:
            (waveform, rate), lossless = _decoded(given, length, limits), True
    if suffix == ".webm" and lossless and waveform is not None:
        raise MediaError(
            f"{path}: a WebM file can't keep sound without loss; write .mp4 or .mkv instead"
        )
    if waveform is not None:
        raw = part.with_name("sound.raw")
        codec = "flac" if lossless else "libopus" if suffix == ".webm" else "aac"
        add(_encoded_sound(raw, waveform, rate, length, codec, inputs.count("-i")))
    notes = "-1"
    if metadata:
        notes, file = str(inputs.count("-i")), part.with_name("notes.txt")
        file.write_text(_notes(metadata), encoding="utf-8")
        inputs += ["-f", "ffmetadata", "-i", str(file)]
    # The end in microseconds, rounded up: encoded sound has its exact length; this stops copies.
    tail = ["-t", f"{math.ceil(length * 10**6)}us", "-map_metadata", notes, "-map_chapters", "-1"]
    tail += ["-strict", "-2"]
    tail += ["-movflags", "+faststart"] if suffix == ".mp4" else []
    ffmpeg.run([*inputs, *outputs, *tail, "-f", MUXERS[suffix], str(part)], path, limits, feed=feed)


def _copied_video(given: Probe, length: Fraction, encoder: list[str]) -> Arguments:
    """The video as it is; that of a GIF, which players expect in no container, by `encoder`."""
    video = given.video
    assert video is not None
    # MPEG program streams don't timestamp every packet, which mkv requires.
    inputs = ["-fflags", "+genpts", *ffmpeg.source(given.path, offset=-video.start)]
    if video.codec == "gif":
        return inputs, ["-map", "0:V:0", *encoder]
    # Packets are in decoding order, so those before the end include all that their frames refer to.
    end = float(length - 1 / video.fps / 2)
    drop = f"noise=drop=gte(dts*tb\\,{end:.9f})"
    return inputs, ["-map", "0:V:0", "-c:v", "copy", "-bsf:v", drop]


def _encoded_video(frames: Tensor, fps: Fraction, quality: float, suffix: str) -> Arguments:
    height, width = (n + n % 2 for n in frames.shape[1:3])
    inputs = ["-f", "rawvideo", "-pixel_format", "rgb24", "-video_size", f"{width}x{height}"]
    inputs += ["-framerate", str(ffmpeg.frame_rate(fps)), "-i", "pipe:0"]
    return inputs, ["-map", "0:v:0", *_encoder(quality, suffix)]


def _encoder(quality: float, suffix: str) -> list[str]:
    """The arguments that encode the frames of an input for the container of `suffix`."""
    if suffix == ".gif":
        return ["-vf", PALETTE, "-loop", "0"]
    flags = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"
    filters = (
        "pad=ceil(iw/2)*2:ceil(ih/2)*2,"  # a GIF's; our own frames are even already
        f"scale=out_color_matrix=bt709:out_range=limited:flags={flags},format=yuv420p,"
        "setparams=range=limited:colorspace=bt709:color_primaries=bt709:color_trc=bt709"
    )
    if suffix == ".webm":
        # VP9's scale of quality is about one and a half times as long as x264's
        rate = ["-crf", str(round(min(63, 1.5 * quality))), "-b:v", "0"]
        return ["-c:v", "libvpx-vp9", *rate, "-cpu-used", "4", "-vf", filters]
    return ["-c:v", "libx264", "-crf", str(quality), "-bf", "0", "-vf", filters]


def _copied_sound(given: Probe, index: int) -> Arguments:
    """Copy the sound, aligned with the file's own video; `index` of its input."""
    stream = given.video or given.audio
    assert stream is not None
    inputs = ffmpeg.source(given.path, offset=-stream.start)
    return inputs, ["-map", f"{index}:a:0", "-c:a", "copy"]


def _encoded_sound(
    raw: Path, waveform: Tensor, rate: int, length: Fraction, codec: str, index: int
) -> Arguments:
    """Encode the waveform, from the file `raw`: FLAC at its own rate, AAC and Opus at 48 kHz."""
    waveform = waveform.detach().cpu()
    if codec != "flac":
        waveform, rate = resample(waveform, rate, 48000), 48000
    samples = fit(waveform, round(length * rate)).T.contiguous()  # [samples, channels]
    samples.numpy().tofile(raw)
    channels = samples.shape[1]
    inputs = ["-f", "f32le", "-ar", str(rate), "-ac", str(channels), "-i", str(raw)]
    if codec == "flac":
        encoder = ["-c:a", "flac", "-sample_fmt", "s16" if _fits_16_bits(samples) else "s32"]
    else:
        encoder = ["-c:a", codec, "-b:a", f"{128 * channels}k"]
    return inputs, ["-map", f"{index}:a:0", *encoder]


def _fits_16_bits(samples: Tensor) -> bool:
    scaled = samples * 2**15
    whole = (scaled == scaled.round()).all()
    return bool(whole and (scaled >= -(2**15)).all() and (scaled < 2**15).all())


def check_copy(
    path: str | os.PathLike[str],
    *,
    copy_video_from: str | os.PathLike[str] | None = None,
    copy_sound_from: str | os.PathLike[str] | None = None,
) -> None:
    """Raise the MediaError that `Clip.save` to `path` would raise for these files to copy."""
    if copy_video_from is not None:
        _video_to_copy(Path(path), Path(copy_video_from))
    if copy_sound_from is not None:
        _sound_to_copy(Path(copy_sound_from))


def _video_to_copy(path: Path, given: Path) -> Probe:
    """The streams of `given`, if the container of `path` accepts its video. Raises MediaError."""
    found = _required(probe(given), "video")
    assert found.video is not None
    causes: dict[str, str] = {}  # container -> why it doesn't accept the video
    if found.video.codec not in MP4_VIDEO:
        causes[".mp4"] = f"players expect {', '.join(sorted(MP4_VIDEO))} in mp4"
    if found.video.codec == "gif":  # encoded anew
        return found
    if found.video.codec not in WEBM_VIDEO:
        causes[".webm"] = f"WebM holds {', '.join(sorted(WEBM_VIDEO))}"
    causes[".gif"] = "a GIF has a format of its own"
    if ".mp4" in causes or path.suffix.lower() == ".mkv":
        if hidden_lead(given, found.video):
            causes[".mkv"] = "an edit list hides its first frames, and mkv has no edit lists"
        elif not copies_into(MUXERS[".mkv"], given):
            causes[".mkv"] = "mkv doesn't support this codec"
    if cause := causes.get(path.suffix.lower()):
        other = next(
            (path.with_suffix(suffix).name for suffix in MUXERS if suffix not in causes), None
        )
        remedy = (
            f"write {other} (`--out {other}`), which accepts it"
            if other
            else "convert it to H.264 first"
        )
        raise MediaError(
            f"{given}: its {found.video.codec} video can't be copied into {path.name}: {cause};"
            f" {remedy}"
        )
    return found


def _sound_to_copy(given: Path) -> Probe:
    return _required(probe(given), "audio")


def _required(found: Probe, stream: str) -> Probe:
    if getattr(found, stream) is None:
        raise MediaError(
            f"{found.path}: has no {'sound' if stream == 'audio' else 'video'} to copy"
        )
    return found


def _decoded(given: Probe, length: Fraction, limits: Limits) -> tuple[Tensor, int]:
    """The decoded sound of a file, aligned as `Clip.read` does, and its rate."""
    assert given.audio is not None
    if sound := sound_file(given.path, Fraction(0), length, limits):
        return sound
    origin = (given.video or given.audio).start
    waveform = read_sound(given.path, given.audio, origin, Fraction(0), length, limits)
    return waveform, given.audio.sample_rate


def _notes(metadata: Mapping[str, str]) -> str:
    """Metadata in ffmpeg's text format, which escapes = ; # \\ and line breaks, and ends at NUL."""
    written = [
        key + "=" + re.sub(r"([=;#\\\n])", r"\\\1", text.replace("\0", ""))
        for key, text in metadata.items()
    ]
    return "\n".join([";FFMETADATA1", *written, ""])


def _even_frames(frames: Tensor) -> Iterator[memoryview]:
    """Frames as bytes, a few at a time; odd sizes repeat their last row and column."""
    for block in frames.split(max(1, (1 << 24) // frames[0].numel())):
        if block.shape[1] % 2:
            block = torch.cat([block, block[:, -1:]], dim=1)
        if block.shape[2] % 2:
            block = torch.cat([block, block[:, :, -1:]], dim=2)
        yield memoryview(block.cpu().contiguous().numpy()).cast("B")
