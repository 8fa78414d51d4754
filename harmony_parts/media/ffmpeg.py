"""The ffmpeg program that imageio-ffmpeg brings: running it within limits, and asking it what a
file holds.

There is no ffprobe beside it, so what a file holds is read from what ffmpeg says while it decodes
the first frame of each stream. Timestamps are kept as the file has them (`-copyts`), so that
pictures and sound, which are read by two processes, share one clock.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import threading
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import IO

import attrs

from harmony_parts.errors import MediaError

LOG_BYTES = 1 << 20  # of what ffmpeg says, kept; the rest is read and thrown away
PROBE_SECONDS = 60.0  # to decode one frame
# of one frame (16384 x 8192); ffmpeg refuses larger ones before it takes memory
MAX_PIXELS = 1 << 27
# Demuxers that accept plain text, or draw a picture of their own: no recording is behind them.
NO_MEDIA = {"tty", "bin", "xbin", "idf", "adf", "lavfi", "concat", "ffmetadata"}
# What ffmpeg writes before a line, with `-loglevel level+...`: "[h264 @ 0x55d5] [error] ".
TAG = re.compile(
    r"^((?:\[[^\]]* @ 0x[0-9a-f]+\] )*)\[(panic|fatal|error|warning|info|verbose|debug|trace)\] ",
    re.MULTILINE,
)
RATES = (
    *map(Fraction, (8, 10, 12, 15, 24, 25, 30, 48, 50, 60, 100, 120)),
    *(Fraction(r * 1000, 1001) for r in (24, 30, 48, 60, 120)),
)


@attrs.frozen
class Limits:
    """What reading or writing one file may cost: decoded `bytes` of each stream in memory, and
    `seconds` of each ffmpeg process.
    """

    bytes: int = attrs.field(default=8 << 30, validator=attrs.validators.gt(0))
    seconds: float = attrs.field(default=600.0, validator=attrs.validators.gt(0))


@attrs.frozen
class VideoStream:
    """The first video stream: its size as shown (rotated), its rate, and the time of its first
    shown frame in the file's clock.
    """

    codec: str
    width: int
    height: int
    pixel_aspect: Fraction  # width / height of one pixel
    pixels: str  # ffmpeg's name of the pixel format
    matrix: str  # ffmpeg's name of the colour matrix, or "unknown"
    fps: Fraction
    first: int  # in units of `tick`
    tick: Fraction  # seconds

    @property
    def start(self) -> Fraction:
        """Seconds of the first frame in the file's clock."""
        return self.first * self.tick


@attrs.frozen
class AudioStream:
    """The first sound stream, as it decodes: rate (Hz), channels, and the time of its first sample
    in the file's clock (seconds).
    """

    codec: str
    sample_rate: int
    channels: int
    start: Fraction


@attrs.frozen
class Probe:
    """What a file holds; `seconds` is what its header says, and a header may lie or be silent."""

    path: Path
    video: VideoStream | None
    audio: AudioStream | None
    seconds: Fraction | None


def executable() -> str:
    """The ffmpeg program. Raises MediaError where there is none."""
    import imageio_ffmpeg

    try:
        return imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise MediaError(
            f"no ffmpeg program: {error}; install imageio-ffmpeg, or name a program in"
            " IMAGEIO_FFMPEG_EXE"
        ) from error


def source(
    path: Path, *, seek: Fraction | None = None, offset: Fraction | None = None
) -> list[str]:
    """The arguments that make `path` an input: never a URL, an option or a list of remote files;
    times as in the file, plus `offset`.
    """
    args = ["-copyts", "-protocol_whitelist", "file", "-max_pixels", str(MAX_PIXELS)]
    if seek is not None:
        args += ["-ss", f"{float(seek):.6f}"]
    if offset is not None:
        args += ["-itsoffset", f"{float(offset):.6f}"]
    return [*args, "-i", f"file:{path}"]


def run(
    args: Iterable[str],
    path: Path,
    limits: Limits,
    *,
    feed: Iterable[bytes | memoryview] = (),
    log: str = "error",
) -> tuple[bytearray, str]:
    """Run ffmpeg: `feed` goes into its stdin; returns its stdout, and what it says.

    Raises MediaError, naming `path`, when it fails, takes longer than `limits.seconds`, or gives
    more than `limits.bytes`. However this function is left, the process has ended.
    """
    command = [executable(), "-hide_banner", "-nostats", "-loglevel", f"level+{log}", "-y", *args]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    said, out, late = bytearray(), bytearray(), threading.Event()

    def stop() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(limits.seconds, stop)
    timer.daemon = True
    listener = threading.Thread(target=_listen, args=(process.stderr, said), daemon=True)
    timer.start()
    listener.start()
    try:
        try:
            for chunk in feed:
                process.stdin.write(chunk)
            process.stdin.close()
        except BrokenPipeError:
            pass  # it ended early, and says why
        while chunk := process.stdout.read(1 << 20):
            out += chunk
            if len(out) > limits.bytes:
                raise MediaError(
                    f"{path}: gives more than the limit of {limits.bytes} bytes; read a part of it,"
                    " or raise Limits.bytes"
                )
        code = process.wait()
    finally:
        timer.cancel()
        process.kill()
        process.wait()
        listener.join()
        for pipe in (process.stdin, process.stdout, process.stderr):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
    text = said.decode("utf-8", "replace")
    if late.is_set():
        raise MediaError(
            f"{path}: ffmpeg took longer than {limits.seconds:g} s and was stopped; raise"
            " Limits.seconds for a long file"
        )
    if code != 0:
        raise MediaError(f"{path}: {_cause(text) or f'ffmpeg failed with exit code {code}'}")
    return out, TAG.sub(r"\1", text)


def _listen(pipe: IO[bytes], into: bytearray) -> None:
    while chunk := pipe.read1(1 << 16):  # type: ignore[attr-defined]
        into += chunk[: LOG_BYTES - len(into)]


def _cause(log: str) -> str:
    """The first error of a log, which is about the file, without ffmpeg's "[h264 @ 0x55d5]
    [error]".
    """
    tags = TAG.finditer(log)
    errors = (
        log[tag.end() :].partition("\n")[0].strip()
        for tag in tags
        if tag[2] in ("panic", "fatal", "error")
    )
    return next((error for error in errors if error), "")


def is_file(path: Path) -> bool:
    """Whether it is a file; of a name that no file can have, too."""
    try:
        return path.is_file()
    # longer than names may be, or with a NUL (Python 3.11 says so, 3.12 doesn't)
    except (OSError, ValueError):
        return False


def probe(path: Path) -> Probe:
    """What a file holds. Raises MediaError where it is missing, no media, or holds neither video
    nor sound.
    """
    if not is_file(path):
        raise MediaError(f"{path}: {_no_file(path)}")
    limits = Limits(bytes=1 << 20, seconds=PROBE_SECONDS)
    nothing = f"{path}: can't be read as media: it holds neither video nor sound"
    # -t 0 of copied packets: opens the file, says what is in it, and stops.
    look = [
        *source(path),
        "-map",
        "0:V:0?",
        "-map",
        "0:a:0?",
        "-c",
        "copy",
        "-t",
        "0",
        "-f",
        "null",
        "-",
    ]
    try:
        _, head = run(look, path, limits, log="info")
    except MediaError as error:
        if "does not contain any stream" in str(error):
            raise MediaError(nothing) from error
        raise MediaError(
            f"{path}: can't be read as media: {str(error).removeprefix(f'{path}: ')}"
        ) from error
    head = head.partition("\nStream mapping:")[0]
    form = re.search(r"^Input #0, (\S+), from ", head, re.MULTILINE)
    found = re.findall(
        r"^  Stream #0:\d+\S*: (Video|Audio): (?!.*\(attached pic\))(.*)$", head, re.MULTILINE
    )
    streams = dict(reversed(found))  # the first of each
    if form is None or form[1].rstrip(",") in NO_MEDIA or not streams:
        raise MediaError(nothing)
    took = re.search(r"^  Duration: (\d+):(\d\d):(\d\d\.\d+)", head, re.MULTILINE)
    seconds = None if took is None else int(took[1]) * 3600 + int(took[2]) * 60 + Fraction(took[3])
    video = _probe_video(path, streams["Video"], limits) if "Video" in streams else None
    audio = _probe_audio(path, streams["Audio"], limits) if "Audio" in streams else None
    return Probe(path, video, audio, seconds)


def _no_file(path: Path) -> str:
    try:
        return (
            "is a folder, not a media file"
            if path.is_dir()
            else "is no file that can be read twice"
            if path.exists()
            else "no such file"
        )
    except (OSError, ValueError) as error:
        return f"no such file ({error.strerror if isinstance(error, OSError) else error})"


def _probe_video(path: Path, line: str, limits: Limits) -> VideoStream:
    args = [
        *source(path),
        "-map",
        "0:V:0",
        "-vf",
        "showinfo=checksum=0",
        "-frames:v",
        "1",
        "-f",
        "null",
        "-",
    ]
    _, log = run(args, path, limits, log="info")
    config = re.search(r"config in time_base: (\d+)/(\d+), frame_rate: (\d+)/(\d+)", log)
    frame = re.search(
        r"n: *0 pts: *(-?\d+|NOPTS) .*?fmt:(\S+) .*?sar:(\d+)/(\d+) s:(\d+)x(\d+) ", log
    )
    matrix = re.search(r"color_space:(\S+)", log)
    if config is None or frame is None:
        raise MediaError(f"{path}: its video has no frame that can be decoded")
    tick, rate = Fraction(int(config[1]), int(config[2])), (int(config[3]), int(config[4]))
    told = re.search(r", ([\d.]+)(k?) fps", line)
    average = Fraction(told[1]) * (1000 if told[2] else 1) if told else None
    return VideoStream(
        codec=line.split(maxsplit=1)[0].rstrip(","),
        width=int(frame[5]),
        height=int(frame[6]),
        pixel_aspect=(
            Fraction(int(frame[3]), int(frame[4]))
            if int(frame[3]) and int(frame[4])
            else Fraction(1)
        ),
        pixels=frame[2],
        matrix=matrix[1] if matrix else "unknown",
        fps=_rate(Fraction(*rate) if rate[0] and rate[1] else None, average),
        first=0 if frame[1] == "NOPTS" else int(frame[1]),
        tick=tick,
    )


def _rate(nominal: Fraction | None, average: Fraction | None) -> Fraction:
    """The file's constant rate: the nominal one where the frames keep to it, else their average
    (two decimals), or a usual one near it.
    """
    if not nominal and not average:
        return Fraction(25)  # ffmpeg's own choice for formats without a rate, such as single images
    kept = (
        nominal
        if nominal and (not average or abs(nominal / average - 1) < Fraction(1, 50))
        else None
    )
    if kept and kept.denominator in (1, 1001):
        return kept
    # Estimates from rounded timestamps, such as 13999/583 of an mkv at 24, are snapped: 24 and
    # 24000/1001 differ by 1 part in 1000.
    rate = kept or average
    assert rate is not None
    near = min(RATES, key=lambda usual: abs(usual - rate))
    return near if abs(near / rate - 1) < Fraction(1, 1500) else rate


def _probe_audio(path: Path, line: str, limits: Limits) -> AudioStream:
    args = [
        *source(path),
        "-map",
        "0:a:0",
        "-c:a",
        "pcm_f32le",
        "-frames:a",
        "1",
        "-f",
        "framecrc",
        "-",
    ]
    out, _ = run(args, path, limits)
    text = out.decode("ascii", "replace")
    rate = re.search(r"^#sample_rate 0: (\d+)$", text, re.MULTILINE)
    # stream, dts, pts, samples, bytes
    packet = re.search(r"^0, *-?\d+, *(-?\d+), *(\d+), *(\d+),", text, re.MULTILINE)
    if rate is None or packet is None or not int(packet[2]):
        raise MediaError(f"{path}: its sound has no sample that can be decoded")
    sample_rate, samples, size = int(rate[1]), int(packet[2]), int(packet[3])
    return AudioStream(
        line.split(maxsplit=1)[0].rstrip(","),
        sample_rate,
        size // (4 * samples),
        Fraction(int(packet[1]), sample_rate),
    )


def hidden_lead(path: Path, video: VideoStream) -> bool:
    """Whether the stream begins with packets that an edit list hides: they are decoded, and not
    shown.
    """
    args = [*source(path), "-map", "0:V:0", "-c", "copy", "-frames:v", "1", "-f", "framecrc", "-"]
    out, _ = run(args, path, Limits(bytes=1 << 20, seconds=PROBE_SECONDS))
    text = out.decode("ascii", "replace")
    tick, packet = (
        re.search(r"^#tb 0: (\d+)/(\d+)$", text, re.MULTILINE),
        re.search(r"^0, *-?\d+, *(-?\d+),", text, re.MULTILINE),
    )
    if tick is None or packet is None:
        return False
    return int(packet[1]) * Fraction(int(tick[1]), int(tick[2])) < video.start - 1 / video.fps / 2


def takes(muxer: str, path: Path) -> bool:
    """Whether a container holds the video of a file as it is: its first packet is written, to
    nowhere.
    """
    args = [*source(path), "-map", "0:V:0", "-c", "copy", "-frames:v", "1", "-f", muxer, os.devnull]
    try:
        run(args, path, Limits(seconds=PROBE_SECONDS))
    except MediaError:
        return False
    return True
