"""From a file to tensors, within limits: frames at a constant rate, and sound aligned with them.

A header is used only to refuse a file early, never to allocate memory: the limits also hold while
the file is decoded.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import soundfile
import torch
from torch import Tensor

from harmony_parts.errors import MediaError
from harmony_parts.media import ffmpeg
from harmony_parts.media.colour import to_rgb
from harmony_parts.media.ffmpeg import Limits
from harmony_parts.media.probe import AudioStream, Probe, VideoStream
from harmony_parts.media.waveform import READS, fit, read_sound_file, resample, to_channels

SEEK = Fraction(10)  # seconds decoded before `start`, so that the decoders' states have settled


def _seek(start: Fraction) -> Fraction | None:
    return start - SEEK if start > SEEK else None


def read_frames(
    probe: Probe,
    video: VideoStream,
    fps: Fraction,
    first: int,
    count: int | None,
    size: tuple[int | None, int | None],
    limits: Limits,
) -> Tensor:
    """uint8 [T, H, W, 3]: frames `first` .. `first + count` at the rate `fps`.

    Raises MediaError if they exceed the limits, or there is no frame at `first` or later.
    """
    scaled, (height, width) = _cover(video, *size)
    frame_bytes = 3 * height * width
    _check_size(probe, fps, first, count, (height, width), limits)
    end = "" if count is None else f":end_frame={first + count}"
    grid = [
        f"setpts=PTS-({video.first})",
        f"fps={fps}:start_time=0",
        f"trim=start_frame={first}{end}",
    ]
    form = [
        *to_rgb(probe.path, video, scaled[1], scaled[0]),
        f"crop={width}:{height}:{(scaled[1] - width) // 2}:{(scaled[0] - height) // 2}:exact=1",
    ]
    # One filter graph for the whole stream, even if its frames change size: a new one would restart
    # its frame count at 0.
    args = [
        "-reinit_filter:v",
        "0",
        *ffmpeg.source(probe.path, seek=_seek(first / fps)),
        "-map",
        "0:V:0",
        "-fps_mode",
        "passthrough",
    ]
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    out, _ = ffmpeg.run([*args, "-vf", ",".join([*grid, *form]), *raw], probe.path, limits)
    if len(out) < frame_bytes and first == 0:
        # The video ends before the middle of the first interval, so that rounding leaves no frame:
        # read its first one.
        out, _ = ffmpeg.run(
            [*args, "-vf", ",".join(form), "-frames:v", "1", *raw], probe.path, limits
        )
    if len(out) < frame_bytes:
        raise MediaError(f"{probe.path}: has no frame at {float(first / fps):g} s or later")
    whole = len(out) // frame_bytes
    return torch.frombuffer(out, dtype=torch.uint8, count=whole * frame_bytes).view(
        whole, height, width, 3
    )


def _check_size(
    probe: Probe,
    fps: Fraction,
    first: int,
    count: int | None,
    size: tuple[int, int],
    limits: Limits,
) -> None:
    """Raise MediaError if the frames that the header claims exceed the limit."""
    height, width = size
    claimed = None if probe.seconds is None else max(1, int(probe.seconds * fps) - first)
    expected = min(count or claimed or 1, claimed or count or 1)
    if (needed := expected * 3 * height * width) > limits.bytes:
        raise MediaError(
            f"{probe.path}: {expected} frames of {width}x{height} take {needed / 2**30:.1f} GiB,"
            f" above the limit of {limits.bytes / 2**30:.1f} GiB; read fewer seconds or a smaller"
            " size, or raise Limits.bytes"
        )


def _cover(
    video: VideoStream, height: int | None, width: int | None
) -> tuple[tuple[int, int], tuple[int, int]]:
    """((height, width) to scale to, (height, width) of the centre crop)."""
    if height is None and width is None:
        return ((video.height, video.width),) * 2
    across = video.width * video.pixel_aspect  # in square pixels
    height = height or max(1, round(video.height * (width or 1) / across))
    width = width or max(1, round(across * height / video.height))
    factor = max(Fraction(height, video.height), width / across)
    scaled = (max(height, round(video.height * factor)), max(width, round(across * factor)))
    return scaled, (height, width)


def read_sound(
    path: Path,
    audio: AudioStream,
    origin: Fraction,
    start: Fraction,
    seconds: Fraction | None,
    limits: Limits,
) -> Tensor:
    """float32 [channels, samples] at the file's own rate, from `origin + start` on its clock.

    At most `seconds` of it. Raises MediaError if it exceeds the limits, or isn't finite.
    """
    first = round((origin + start) * audio.sample_rate)
    most = (
        limits.bytes // (4 * audio.channels)
        if seconds is None
        else max(1, round(seconds * audio.sample_rate))
    )
    # Later timestamps are moved to just behind the end: ffmpeg fills a gap at once, and a damaged
    # timestamp would cost gigabytes.
    end = float((first + most) / audio.sample_rate + 1)
    near = f"asetpts='if(gt(PTS*TB,{end:.6f}),{end:.6f}/TB,PTS)'"
    # Gaps are filled and overlaps trimmed, without stretching: at the beginning to the sample,
    # later if timestamps and samples differ by more than 20 ms.
    filters = f"{near},aresample=async=1:min_comp=0.00001:min_hard_comp=0.02:first_pts={first}"
    if seconds is not None:
        filters += f",atrim=end_sample={most}"
    args = [*ffmpeg.source(path, seek=_seek(start)), "-map", "0:a:0", "-af", filters]
    out, _ = ffmpeg.run(
        [*args, "-ar", str(audio.sample_rate), "-ac", str(audio.channels), "-f", "f32le", "-"],
        path,
        limits,
    )
    count = len(out) // (4 * audio.channels)
    if not count:
        return torch.zeros(audio.channels, 0)
    values = torch.frombuffer(out, dtype=torch.float32, count=count * audio.channels).view(
        count, audio.channels
    )
    return finite(path, values.T.contiguous(), audio.sample_rate)


def sound_file(
    path: Path, start: Fraction, seconds: Fraction | None, limits: Limits
) -> tuple[Tensor, int] | None:
    """([channels, samples], Hz) of a sound file; `None` if soundfile can't read it."""
    if path.suffix.lower() not in READS or not ffmpeg.is_file(path):
        return None
    try:
        waveform, rate = read_sound_file(path, start, seconds, limits)
    except soundfile.LibsndfileError:
        return None
    return finite(path, waveform, rate), rate


def at_rate(
    path: Path, waveform: Tensor, own: int, rate: int, samples: int, limits: Limits
) -> Tensor:
    """`waveform` resampled from `own` to `rate` Hz, [channels, samples].

    Raises MediaError, before memory is allocated, if it exceeds the limit.
    """
    size = 4 * waveform.shape[0] * samples
    if size > limits.bytes:
        raise MediaError(
            f"{path}: {samples} samples at {rate} Hz take {size / 2**30:.1f} GiB, above the limit"
            f" of {limits.bytes / 2**30:.1f} GiB; read fewer seconds or a lower sample_rate, or"
            " raise Limits.bytes"
        )
    return fit(resample(waveform, own, rate), samples)


def in_channels(path: Path, waveform: Tensor, channels: int | None) -> Tensor:
    """`waveform` with so many channels, by `to_channels`; `None` keeps its own.

    Raises MediaError if there is no rule for that.
    """
    if channels is None:
        return waveform
    try:
        return to_channels(waveform, channels)
    except ValueError as error:
        raise MediaError(f"{path}: {error}") from error


def finite(path: Path, waveform: Tensor, rate: int) -> Tensor:
    """`waveform` unchanged. Raises MediaError if it has NaN or infinity, which codecs can't use."""
    wrong = (~waveform.isfinite()).any(0)
    if bool(wrong.any()):
        count, first = int(wrong.sum()), int(wrong.nonzero()[0])
        cause = (
            f"{count} of {len(wrong)} samples aren't finite numbers, the first at"
            f" {first / rate:.4g} s"
        )
        raise MediaError(
            f"{path}: its sound can't be used: {cause}; export it again from its source"
        )
    return waveform
