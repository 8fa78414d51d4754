"""Running the ffmpeg program that imageio-ffmpeg ships, within limits.

Timestamps stay as they are in the file (`-copyts`), so that pictures and sound, which two processes
read, share one clock.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterable
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import IO

import attrs

from harmony_parts.errors import MediaError

LOG_BYTES = 1 << 20  # of ffmpeg's log that are kept; the rest is read and discarded
# of one frame (16384 x 8192); ffmpeg refuses larger ones before it allocates memory
MAX_PIXELS = 1 << 27
OLDEST = 7  # major version; 5.1 cuts copied video wrongly, and 4.2 writes another log
STARTS = 30  # seconds within which a working program prints its version
RATE_DENOMINATOR = 1001  # of frame rates; ffmpeg reads no finer ones
# The prefix of a log line with `-loglevel level+...`: "[h264 @ 0x55d5] [error] ".
TAG = re.compile(
    r"^((?:\[[^\]]* @ 0x[0-9a-f]+\] )*)\[(panic|fatal|error|warning|info|verbose|debug|trace)\] ",
    re.MULTILINE,
)


@attrs.frozen
class Limits:
    """Limits for one file: decoded `bytes` of each stream, `seconds` of each ffmpeg process."""

    bytes: int = attrs.field(default=8 << 30, validator=attrs.validators.gt(0))
    seconds: float = attrs.field(default=600.0, validator=attrs.validators.gt(0))


ENCODERS = ("libx264", "aac", "flac")
"""The encoders of ffmpeg that writing clips needs."""


def executable() -> str:
    """The path of the ffmpeg program.

    Raises MediaError, naming the program, if it can't run or is older than version 7.
    """
    import imageio_ffmpeg

    try:
        program = imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise MediaError(
            f"no ffmpeg program: {error}; install imageio-ffmpeg, or set IMAGEIO_FFMPEG_EXE to the"
            " path of one"
        ) from error
    said = _output(program, "-version")
    number = re.match(r"ffmpeg version n?(\d+)\.", said)  # a build of no release has none
    if number and int(number[1]) < OLDEST:
        raise MediaError(
            f"{program}: this ffmpeg is {said.split()[2]}, and {OLDEST}.0 or newer is needed;"
            f" {_remedy()}"
        )
    return program


def check_encoders() -> None:
    """Raise MediaError if ffmpeg can't run, or can't encode clips. Call it before long work."""
    program = executable()
    words = _output(program, "-encoders").split()
    if missing := [name for name in ENCODERS if name not in words]:
        raise MediaError(
            f"{program}: this ffmpeg has no encoder {', '.join(missing)}, which clips are written"
            f" with; {_remedy()}"
        )


def filters() -> set[str]:
    """The names of ffmpeg's filters. Raises MediaError if it can't run."""
    return set(_output(executable(), "-filters").split())


def version() -> str:
    """The name and version of the ffmpeg program. Raises MediaError if it can't run."""
    return " ".join(_output(executable(), "-version").split()[:3])


@cache  # a program that ran once will run again; a failure isn't remembered
def _output(program: str, option: str) -> str:
    """What the program prints for an option."""
    try:
        done = subprocess.run(
            [program, "-hide_banner", option],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=STARTS,
            encoding="utf-8",
            errors="replace",
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        cause = getattr(error, "strerror", None) or f"no answer in {STARTS} s"
    else:
        if done.returncode == 0 and (option != "-version" or "version" in done.stdout):
            return done.stdout
        last = (done.stderr.strip().splitlines() or [""])[-1]
        cause = f"exit code {done.returncode}" + (f", {last}" if last else "")
    raise MediaError(f"{program}: this ffmpeg can't run ({cause}); {_remedy()}")


def _remedy() -> str:
    """What to do about an ffmpeg that can't be used."""
    if os.environ.get("IMAGEIO_FFMPEG_EXE"):
        return (
            "the variable IMAGEIO_FFMPEG_EXE names it: unset it to use the ffmpeg of"
            " imageio-ffmpeg, or set it to another"
        )
    return "install the newest imageio-ffmpeg, or set IMAGEIO_FFMPEG_EXE to the path of another"


def source(
    path: Path, *, seek: Fraction | None = None, offset: Fraction | None = None
) -> list[str]:
    """Arguments that make the local file `path` an input, whatever its name and content.

    A name is never a URL or an option, and a playlist can't open remote files. Times are those of
    the file, plus `offset`; decoding starts at `seek`.
    """
    args = ["-copyts", "-protocol_whitelist", "file", "-max_pixels", str(MAX_PIXELS)]
    if seek is not None:
        args += ["-ss", f"{float(seek):.6f}"]
    if offset is not None:
        args += ["-itsoffset", f"{float(offset):.6f}"]
    return [*args, "-i", f"file:{path}"]


def frame_rate(fps: Fraction) -> Fraction:
    """The nearest frame rate that ffmpeg can read. Raises ValueError outside 1/1001 to 1000."""
    rate = fps.limit_denominator(RATE_DENOMINATOR)
    if not Fraction(1, RATE_DENOMINATOR) <= rate <= 1000:
        raise ValueError(f"fps must lie between 1/{RATE_DENOMINATOR} and 1000, not {float(fps):g}")
    return rate


def run(
    args: Iterable[str],
    path: Path,
    limits: Limits,
    *,
    feed: Iterable[bytes | memoryview] = (),
    log: str = "error",
) -> tuple[bytearray, str]:
    """Run ffmpeg with `feed` as its stdin; returns its stdout and its log.

    Raises MediaError, naming `path`, if it fails, takes longer than `limits.seconds`, or writes
    more than `limits.bytes`. The process has ended whenever this function returns or raises.
    """
    command = [executable(), "-hide_banner", "-nostats", "-loglevel", f"level+{log}", "-y", *args]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    logged, late = bytearray(), threading.Event()

    def stop() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(limits.seconds, stop)
    timer.daemon = True
    reader = threading.Thread(target=_read_log, args=(process.stderr, logged), daemon=True)
    timer.start()
    reader.start()
    try:
        _write(process.stdin, feed)
        out = _read(process.stdout, path, limits)
        code = process.wait()
    finally:
        timer.cancel()
        process.kill()
        process.wait()
        reader.join()
        for pipe in (process.stdin, process.stdout, process.stderr):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
    text = logged.decode("utf-8", "replace")
    if late.is_set():
        raise MediaError(
            f"{path}: ffmpeg took longer than {limits.seconds:g} s and was stopped; raise"
            " Limits.seconds for a long file"
        )
    if code < 0:
        ended = signal.Signals(-code).name
        raise MediaError(f"{path}: {version()} was ended by {ended}; {_remedy()}")
    if code > 0:
        raise MediaError(f"{path}: {_cause(text) or f'ffmpeg failed with exit code {code}'}")
    return out, TAG.sub(r"\1", text)


def _write(pipe: IO[bytes], feed: Iterable[bytes | memoryview]) -> None:
    with contextlib.suppress(BrokenPipeError):  # ffmpeg ended early; its log has the cause
        for chunk in feed:
            pipe.write(chunk)
        pipe.close()


def _read(pipe: IO[bytes], path: Path, limits: Limits) -> bytearray:
    out = bytearray()
    while chunk := pipe.read(1 << 20):
        out += chunk
        if len(out) > limits.bytes:
            raise MediaError(
                f"{path}: decodes to more than the limit of {limits.bytes} bytes; read a part of"
                " it, or raise Limits.bytes"
            )
    return out


def _read_log(pipe: IO[bytes], into: bytearray) -> None:
    while chunk := pipe.read1(1 << 16):  # type: ignore[attr-defined]
        into += chunk[: LOG_BYTES - len(into)]


def _cause(log: str) -> str:
    """The first error of a log, without its tags ("[h264 @ 0x55d5] [error]"); it is the file's."""
    tags = TAG.finditer(log)
    errors = (
        log[tag.end() :].partition("\n")[0].strip()
        for tag in tags
        if tag[2] in ("panic", "fatal", "error")
    )
    return next((error for error in errors if error), "")


def is_file(path: Path) -> bool:
    """Whether `path` is an existing file; False also for a name that no file can have."""
    try:
        return path.is_file()
    # longer than a name can be, or with a NUL (an error in Python 3.11, not in 3.12)
    except (OSError, ValueError):
        return False
