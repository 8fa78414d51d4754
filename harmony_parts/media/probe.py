"""What a media file contains: its streams, rates, sizes and start times.

imageio-ffmpeg ships no ffprobe, so this is parsed from ffmpeg's log while it decodes the first
frame of each stream.
"""

from __future__ import annotations

import os
import re
from fractions import Fraction
from pathlib import Path

import attrs

from harmony_parts.errors import MediaError
from harmony_parts.media.ffmpeg import Limits, executable, is_file, run, source

PROBE_SECONDS = 60.0  # limit for decoding one frame
# Demuxers that accept plain text or draw a picture themselves: such a file isn't a recording.
NO_MEDIA = {"tty", "bin", "xbin", "idf", "adf", "lavfi", "concat", "ffmetadata"}
RATES = (
    *map(Fraction, (8, 10, 12, 15, 24, 25, 30, 48, 50, 60, 100, 120)),
    *(Fraction(r * 1000, 1001) for r in (24, 30, 48, 60, 120)),
)


@attrs.frozen
class VideoStream:
    """The first video stream: displayed size (after rotation), rate, time of the first frame."""

    codec: str
    width: int
    height: int
    pixel_aspect: Fraction  # width / height of one pixel
    pixels: str  # ffmpeg's name of the pixel format
    # ffmpeg's names of the colour matrix, primaries and transfer, or "unknown"
    matrix: str
    primaries: str
    transfer: str
    fps: Fraction
    first: int  # timestamp of the first displayed frame, in units of `tick`
    tick: Fraction  # seconds

    @property
    def start(self) -> Fraction:
        """Time of the first frame in seconds, on the file's clock."""
        return self.first * self.tick


@attrs.frozen
class AudioStream:
    """The first sound stream as decoded: rate (Hz), channels, time of the first sample (s)."""

    codec: str
    sample_rate: int
    channels: int
    start: Fraction


@attrs.frozen
class Probe:
    """The streams of a file. `seconds` is from the header, which may be wrong or absent."""

    path: Path
    video: VideoStream | None
    audio: AudioStream | None
    seconds: Fraction | None


def probe(path: Path) -> Probe:
    """The streams of a file.

    Raises MediaError if it is missing, isn't media, or has neither video nor sound.
    """
    if fault := file_fault(path):
        raise MediaError(f"{path}: {fault}")
    executable()  # one that can't run is no fault of the file
    limits = Limits(bytes=1 << 20, seconds=PROBE_SECONDS)
    nothing = f"{path}: can't be read as media: it has neither video nor sound"
    try:
        head = _header(path, limits)
    except MediaError as error:
        if "does not contain any stream" in str(error):
            raise MediaError(nothing) from error
        raise MediaError(
            f"{path}: can't be read as media: {str(error).removeprefix(f'{path}: ')}"
        ) from error
    form = re.search(r"^Input #0, (\S+), from ", head, re.MULTILINE)
    found = re.findall(
        r"^  Stream #0:\d+\S*: (Video|Audio): (?!.*\(attached pic\))(.*)$", head, re.MULTILINE
    )
    streams = dict(reversed(found))  # the first of each
    if form is None or form[1].rstrip(",") in NO_MEDIA or not streams:
        raise MediaError(nothing)
    duration = re.search(r"^  Duration: (\d+):(\d\d):(\d\d\.\d+)", head, re.MULTILINE)
    seconds = None
    if duration is not None:
        hours, minutes = int(duration[1]), int(duration[2])
        seconds = hours * 3600 + minutes * 60 + Fraction(duration[3])
    video = _probe_video(path, streams["Video"], limits) if "Video" in streams else None
    audio = _probe_audio(path, streams["Audio"], limits) if "Audio" in streams else None
    return Probe(path, video, audio, seconds)


def _header(path: Path, limits: Limits) -> str:
    """ffmpeg's description of the file; it copies no packets (`-t 0`)."""
    maps = ["-map", "0:V:0?", "-map", "0:a:0?", "-c", "copy", "-t", "0", "-f", "null", "-"]
    _, log = run([*source(path), *maps], path, limits, log="info")
    return log.partition("\nStream mapping:")[0]


def file_fault(path: Path) -> str:
    """Why `path` isn't a regular file; empty if it is."""
    if is_file(path):
        return ""
    try:
        if path.is_dir():
            return "is a folder, not a media file"
        return "isn't a regular file" if path.exists() else "no such file"
    except (OSError, ValueError) as error:
        return f"no such file ({error.strerror if isinstance(error, OSError) else error})"


def _probe_video(path: Path, line: str, limits: Limits) -> VideoStream:
    args = ["-map", "0:V:0", "-vf", "showinfo=checksum=0", "-frames:v", "1", "-f", "null", "-"]
    _, log = run([*source(path), *args], path, limits, log="info")
    config = re.search(r"config in time_base: (\d+)/(\d+), frame_rate: (\d+)/(\d+)", log)
    frame = re.search(
        r"n: *0 pts: *(-?\d+|NOPTS) .*?fmt:(\S+) .*?sar:(\d+)/(\d+) s:(\d+)x(\d+) ", log
    )
    colour = {
        name: found[1] if (found := re.search(rf"color_{name}:(\S+)", log)) else "unknown"
        for name in ("space", "primaries", "trc")
    }
    if config is None or frame is None:
        raise MediaError(f"{path}: its video has no frame that can be decoded")
    tick, rate = Fraction(int(config[1]), int(config[2])), (int(config[3]), int(config[4]))
    shown = re.search(r", ([\d.]+)(k?) fps", line)
    average = Fraction(shown[1]) * (1000 if shown[2] else 1) if shown else None
    aspect = (int(frame[3]), int(frame[4]))
    return VideoStream(
        codec=line.split(maxsplit=1)[0].rstrip(","),
        width=int(frame[5]),
        height=int(frame[6]),
        pixel_aspect=Fraction(*aspect) if all(aspect) else Fraction(1),
        pixels=frame[2],
        matrix=colour["space"],
        primaries=colour["primaries"],
        transfer=colour["trc"],
        fps=_rate(Fraction(*rate) if rate[0] and rate[1] else None, average),
        first=0 if frame[1] == "NOPTS" else int(frame[1]),
        tick=tick,
    )


def _rate(nominal: Fraction | None, average: Fraction | None) -> Fraction:
    """The file's constant rate: the nominal one if it fits the average, else the average.

    A rate that is only estimated (the average has two decimals) is rounded to a usual one near it.
    """
    if not nominal and not average:
        return Fraction(25)  # ffmpeg's own choice for formats without a rate, such as single images
    fits = nominal and (not average or abs(nominal / average - 1) < Fraction(1, 50))
    if nominal and fits and nominal.denominator in (1, 1001):
        return nominal
    # Estimates from rounded timestamps, such as 13999/583 of an mkv at 24, are rounded: 24 and
    # 24000/1001 differ by 1 part in 1000.
    rate = nominal if fits else average
    assert rate is not None
    near = min(RATES, key=lambda usual: abs(usual - rate))
    return near if abs(near / rate - 1) < Fraction(1, 1500) else rate


def _probe_audio(path: Path, line: str, limits: Limits) -> AudioStream:
    args = ["-map", "0:a:0", "-c:a", "pcm_f32le", "-frames:a", "1", "-f", "framecrc", "-"]
    out, _ = run([*source(path), *args], path, limits)
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
    """Whether an edit list hides the stream's first packets, which are decoded but not shown."""
    args = [*source(path), "-map", "0:V:0", "-c", "copy", "-frames:v", "1", "-f", "framecrc", "-"]
    out, _ = run(args, path, Limits(bytes=1 << 20, seconds=PROBE_SECONDS))
    text = out.decode("ascii", "replace")
    tick = re.search(r"^#tb 0: (\d+)/(\d+)$", text, re.MULTILINE)
    packet = re.search(r"^0, *-?\d+, *(-?\d+),", text, re.MULTILINE)
    if tick is None or packet is None:
        return False
    return int(packet[1]) * Fraction(int(tick[1]), int(tick[2])) < video.start - 1 / video.fps / 2


def copies_into(muxer: str, path: Path) -> bool:
    """Whether a container accepts a copy of the file's video; only its first packet is tried."""
    args = [*source(path), "-map", "0:V:0", "-c", "copy", "-frames:v", "1", "-f", muxer, os.devnull]
    try:
        run(args, path, Limits(seconds=PROBE_SECONDS))
    except MediaError:
        return False
    return True
