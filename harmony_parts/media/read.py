"""From a file to tensors, within limits: frames on a grid of constant rate, and sound in its place
beside them.

What a header says is used to refuse early, and never to reserve memory: the limits hold while a
file is decoded, too.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import soundfile
import torch
from torch import Tensor

from harmony_parts.errors import MediaError
from harmony_parts.media import ffmpeg
from harmony_parts.media.ffmpeg import Limits
from harmony_parts.media.waveform import READS, fit, read_sound_file, resample

SEEK = Fraction(10)  # seconds decoded before `start`, so that decoders have settled there
RATE_DENOMINATOR = 1001  # of frame rates; ffmpeg reads no finer ones


def constant(fps: Fraction) -> Fraction:
    """A frame rate that ffmpeg can read."""
    rate = fps.limit_denominator(RATE_DENOMINATOR)
    if not Fraction(1, RATE_DENOMINATOR) <= rate <= 1000:
        raise ValueError(f"fps must lie between 1/{RATE_DENOMINATOR} and 1000, not {float(fps):g}")
    return rate


def _seek(start: Fraction) -> Fraction | None:
    return start - SEEK if start > SEEK else None


def read_frames(
    probe: ffmpeg.Probe,
    video: ffmpeg.VideoStream,
    fps: Fraction,
    first: int,
    count: int | None,
    size: tuple[int | None, int | None],
    limits: Limits,
) -> Tensor:
    """uint8 [T, H, W, 3]: the frames `first` .. `first + count` of the grid that begins with the
    video.
    """
    scaled, (height, width) = _cover(video, *size)
    frame_bytes = 3 * height * width
    # the limit holds while reading, too
    claimed = None if probe.seconds is None else max(1, int(probe.seconds * fps) - first)
    expected = min(count or claimed or 1, claimed or count or 1)
    if expected * frame_bytes > limits.bytes:
        raise MediaError(
            f"{probe.path}: {expected} frames of {width}x{height} take"
            f" {expected * frame_bytes / 2**30:.1f} GiB, above the limit of"
            f" {limits.bytes / 2**30:.1f} GiB; read fewer seconds or a smaller size, or raise"
            " Limits.bytes"
        )
    # "auto" is the tagged matrix. Only YCbCr has one: RGB and grey sources are left alone.
    untagged = video.matrix == "unknown" and video.pixels.startswith(
        ("yuv", "nv", "p0", "p2", "p4", "yuyv", "uyvy")
    )
    matrix = (
        "auto" if not untagged else "bt709" if min(video.width, video.height) >= 720 else "bt601"
    )
    end = "" if count is None else f":end_frame={first + count}"
    grid = [
        f"setpts=PTS-({video.first})",
        f"fps={fps}:start_time=0",
        f"trim=start_frame={first}{end}",
    ]
    form = [
        f"scale={scaled[1]}:{scaled[0]}:in_color_matrix={matrix}:out_range=full:flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp",
        "format=rgb24",
        f"crop={width}:{height}:{(scaled[1] - width) // 2}:{(scaled[0] - height) // 2}:exact=1",
    ]
    # One filter graph for the whole stream, also where its frames change size: a new one would
    # count from 0 again.
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
        # It ends before the middle of the grid's first place, and the end is rounded to the grid,
        # too; that place has its first frame.
        out, _ = ffmpeg.run(
            [*args, "-vf", ",".join(form), "-frames:v", "1", *raw], probe.path, limits
        )
    if len(out) < frame_bytes:
        raise MediaError(f"{probe.path}: has no frame at {float(first / fps):g} s or later")
    whole = len(out) // frame_bytes
    return torch.frombuffer(out, dtype=torch.uint8, count=whole * frame_bytes).view(
        whole, height, width, 3
    )


def _cover(
    video: ffmpeg.VideoStream, height: int | None, width: int | None
) -> tuple[tuple[int, int], tuple[int, int]]:
    """((height, width) to scale to, (height, width) to cut from its centre)."""
    if height is None and width is None:
        return ((video.height, video.width),) * 2
    across = video.width * video.pixel_aspect  # in square pixels
    height = height or max(1, round(video.height * (width or 1) / across))
    width = width or max(1, round(across * height / video.height))
    factor = max(Fraction(height, video.height), width / across)
    return (max(height, round(video.height * factor)), max(width, round(across * factor))), (
        height,
        width,
    )


def read_sound(
    path: Path,
    audio: ffmpeg.AudioStream,
    origin: Fraction,
    start: Fraction,
    seconds: Fraction | None,
    limits: Limits,
) -> Tensor:
    """float32 [channels, samples] from `origin + start` in the file's clock on, at the file's own
    rate; `seconds` of it, or less.
    """
    first = round((origin + start) * audio.sample_rate)
    most = (
        limits.bytes // (4 * audio.channels)
        if seconds is None
        else max(1, round(seconds * audio.sample_rate))
    )
    # What a timestamp claims to lie far behind the end is put there: ffmpeg fills a gap at once,
    # and a damaged timestamp is worth gigabytes.
    end = float((first + most) / audio.sample_rate + 1)
    near = f"asetpts='if(gt(PTS*TB,{end:.6f}),{end:.6f}/TB,PTS)'"
    # Filled and trimmed, never stretched: at the beginning to the sample, later where timestamps
    # and samples differ by more than 20 ms.
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
    """([channels, samples], Hz) of a sound file that soundfile reads; `None` where it is none, or
    something else under such a name.
    """
    if path.suffix.lower() not in READS or not ffmpeg.is_file(path):
        return None
    try:
        waveform, rate = read_sound_file(path, start, seconds, limits)
    except soundfile.LibsndfileError:
        return None
    return finite(path, waveform, rate), rate


def at_rate(
    path: Path, waveform: Tensor, own: int, asked: int, samples: int, limits: Limits
) -> Tensor:
    """[channels, samples] of `waveform` at `asked` Hz. Raises MediaError before it takes memory
    above the limit.
    """
    size = 4 * waveform.shape[0] * samples
    if size > limits.bytes:
        raise MediaError(
            f"{path}: {samples} samples at {asked} Hz take {size / 2**30:.1f} GiB, above the limit"
            f" of {limits.bytes / 2**30:.1f} GiB; read fewer seconds or a lower sample_rate, or"
            " raise Limits.bytes"
        )
    return fit(resample(waveform, own, asked), samples)


def finite(path: Path, waveform: Tensor, rate: int) -> Tensor:
    """`waveform` as it is. Raises MediaError where it holds NaN or infinity: no codec or loss could
    go on from there.
    """
    wrong = (~waveform.isfinite()).any(0)
    if bool(wrong.any()):
        count, first = int(wrong.sum()), int(wrong.nonzero()[0])
        cause = (
            f"{count} of {len(wrong)} samples aren't finite numbers, the first at"
            f" {first / rate:.4g} s"
        )
        raise MediaError(f"{path}: its sound can't be used: {cause}; write it anew from its source")
    return waveform
