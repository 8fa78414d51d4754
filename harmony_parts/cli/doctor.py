"""`harmony doctor`: checks that everything the library needs is installed and works."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Literal

import attrs
import click

from harmony_parts.cli.command import Command
from harmony_parts.report.progress import console, styled
from harmony_parts.report.text import quantity

State = Literal["ok", "note", "broken"]
STYLES = {"ok": "green", "note": "yellow", "broken": "bold red"}
TESTED = ((3, 11), (3, 12), (3, 13))  # versions of Python
LAST_TORCHAUDIO = (2, 11)
CUDA_LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"


@attrs.frozen
class Finding:
    """The result of a check: `ok`, a harmless `note`, or `broken`, with a remedy."""

    what: str
    state: State
    text: str
    remedy: str = ""


def _version(distribution: str) -> str:
    """The installed version of a package, "" if it isn't installed."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _minor(version: str) -> tuple[int, int]:
    """(major, minor) of a version."""
    major, minor = version.split(".")[:2]
    return int(major), int(minor)


def python() -> Iterator[Finding]:
    """Python is one of the versions that the tests run on."""
    tested = sys.version_info[:2] in TESTED
    text = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    versions = ", ".join(f"{major}.{minor}" for major, minor in TESTED)
    yield Finding(
        "python", "ok" if tested else "note", text, f"tested with {versions}" * (not tested)
    )


def torch() -> Iterator[Finding]:
    """torch is installed, and a torchaudio that works with it.

    Up to 2.11 each torchaudio is built for the torch of its own minor version. 2.11 is the last
    series, and works with newer ones.
    """
    import torch

    yield Finding(
        "torch", "ok", f"{torch.__version__}, {quantity(torch.get_num_threads(), 'thread')}"
    )
    own, other = torch.__version__.split("+")[0], _version("torchaudio")
    series = min(_minor(own), LAST_TORCHAUDIO)
    remedy = f"pip install 'torchaudio=={series[0]}.{series[1]}.*'"
    if not other:
        yield Finding("torchaudio", "broken", "isn't installed", remedy)
    elif _minor(other) != series:
        yield Finding("torchaudio", "broken", f"{other} doesn't match torch {own}", remedy)
    else:
        import torchaudio.functional  # noqa: F401 - the check is that it loads

        yield Finding("torchaudio", "ok", other)


def gpu() -> Iterator[Finding]:
    """There is a CUDA device with a driver that this torch can use."""
    import torch

    driver = driver_version()
    built = torch.version.cuda
    if torch.cuda.is_available():
        for k in range(torch.cuda.device_count()):
            device = torch.cuda.get_device_properties(k)
            text = (
                f"{device.name}, {device.total_memory / 2**30:.0f} GiB, CUDA {built}, driver for"
                f" CUDA {driver or 'unknown'}"
            )
            yield Finding(f"cuda:{k}", "ok", text)
        # fails if this torch wasn't built for the device's architecture
        torch.zeros(8, device="cuda").add_(1).sum().item()
    elif built is None:
        hint = (
            "an NVIDIA driver is installed: install a torch with CUDA to use the GPU"
            if driver
            else ""
        )
        yield Finding("cuda", "note", "this torch is built without CUDA; the CPU is used", hint)
    elif driver is None:
        yield Finding(
            "cuda",
            "note",
            f"no NVIDIA driver ({CUDA_LIBRARY} not found); the CPU is used",
            "if this machine has a GPU, install its driver",
        )
    else:
        hint = (
            f"this torch needs CUDA {built}; update the driver if it is older, and check"
            " CUDA_VISIBLE_DEVICES"
        )
        yield Finding(
            "cuda",
            "note",
            f"a driver for CUDA {driver}, but no device that torch can use; the CPU is used",
            hint,
        )


def attention() -> Iterator[Finding]:
    """Backends of local attention that can run, and the rule that selects one."""
    from harmony_parts.attention.rule import RULE, backends

    for name, reason in backends().items():
        yield Finding(
            "attention", "note" if reason else "ok", f"{name}: {reason}" if reason else name
        )
    yield Finding("attention", "ok", RULE)


def driver_version() -> str | None:
    """The newest CUDA version that the NVIDIA driver supports ("12.8"), None without a driver."""
    import ctypes

    try:
        library = ctypes.CDLL(CUDA_LIBRARY)
    except OSError:
        return None
    number = ctypes.c_int()
    return (
        f"{number.value // 1000}.{number.value % 1000 // 10}"
        if library.cuDriverGetVersion(ctypes.byref(number)) == 0
        else "?"
    )


def ffmpeg() -> Iterator[Finding]:
    """ffmpeg runs, and has the encoders for writing clips."""
    from harmony_parts.media.ffmpeg import check_encoders, executable, version

    check_encoders()  # raises, with the remedy
    yield Finding("ffmpeg", "ok", f"{version()}, {executable()}")


def soundfile() -> Iterator[Finding]:
    """soundfile reads and writes wav and flac."""
    import soundfile

    yield Finding("soundfile", "ok", f"{soundfile.__version__}, {soundfile.__libsndfile_version__}")


def plugins() -> Iterator[Finding]:
    """All plugins load, and all their parts can be imported."""
    from harmony_parts.assembly.catalogue import catalogue
    from harmony_parts.assembly.declared import BUILT_IN
    from harmony_parts.testing.check_parts import broken

    available = catalogue()
    for fault in broken(available):
        yield Finding(
            "parts",
            "broken",
            fault,
            "fix, update or uninstall the plugin, or skip it with HARMONY_PARTS_PLUGINS",
        )
    for slow in available.slow:
        yield Finding("parts", "note", str(slow))
    others = dict.fromkeys(
        f"{d.plugin} ({d.distribution} {d.version})"
        for d in available.list()
        if d.plugin != BUILT_IN
    )
    yield Finding(
        "parts",
        "ok",
        f"{quantity(len(available.list()), 'part')}; plugins: {', '.join(others) or 'none'}",
    )


def roundtrip() -> Iterator[Finding]:
    """A clip with a flash and a click on the left is written and read back, both in their place."""
    import torch

    from harmony_parts.media.clip import Clip

    fps, rate, count, event = Fraction(24), 48000, 12, 6
    frames = torch.full((count, 64, 64, 3), 32, dtype=torch.uint8)
    frames[event] = 224
    wave = torch.zeros(2, int(count * rate / fps))
    click = int(event * rate / fps)
    wave[0, click : click + 480] = torch.sin(torch.arange(480) * 0.2) * 0.5
    with tempfile.TemporaryDirectory() as folder:
        read = Clip.read(Clip(frames, fps, wave, rate).save(Path(folder, "check.mp4")))
    pictures, sound = read.frames, read.waveform
    if pictures is None or sound is None or (len(pictures), len(sound)) != (count, len(wave)):
        yield Finding(
            "mp4",
            "broken",
            "a clip that was written can't be read back completely",
            "run `harmony doctor --debug` and report the output",
        )
        return
    flash = int(pictures.float().mean((1, 2, 3)).argmax())
    loud = int((sound.abs().amax(0) > 0.1).nonzero()[:1].sum())
    late = 1000 * (loud - click) / rate
    a, b = sound.abs().amax(1).tolist()
    side = "left" if a > 10 * b else "right" if b > 10 * a else "no side"
    right = flash == event and abs(late) <= 2 and side == "left"
    text = (
        f"{quantity(count, 'frame')} written and read back, the flash in frame {flash} (of"
        f" {event}), the click {late:+.1f} ms off and on the {side} (of left)"
    )
    yield Finding(
        "mp4",
        "ok" if right else "broken",
        text,
        "" if right else "written files don't keep the time or the side of a sound; report it",
    )


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    python,
    torch,
    gpu,
    attention,
    ffmpeg,
    soundfile,
    plugins,
    roundtrip,
)


@click.command(
    cls=Command,
    short_help="Check this installation.",
    examples=["harmony doctor", "harmony doctor --debug   with tracebacks"],
)
@click.pass_context
def doctor(ctx: click.Context) -> None:
    """Check everything that the library needs: matching versions, the GPU and its driver, ffmpeg,
    soundfile, plugins. Then write a short clip and read it back. The exit code is 1 if something is
    broken."""
    from harmony_parts.cli.command import debug

    out, broken = console(), 0
    for check in CHECKS:
        for finding in _found(check, debug(ctx)):
            broken += finding.state == "broken"
            remedy = f"\n{'':20}-> {finding.remedy}" if finding.remedy else ""
            out.print(
                styled(
                    (f"{finding.state:<8}", STYLES[finding.state]),
                    f"{finding.what:<11} {finding.text}{remedy}",
                ),
                soft_wrap=True,
            )
    click.echo(f"\n{quantity(broken, 'fault')} found" if broken else "\neverything works")
    if broken:
        ctx.exit(1)


def _found(check: Callable[[], Iterator[Finding]], debug: bool) -> Iterator[Finding]:
    """The findings of a check; an exception becomes a finding too."""
    try:
        yield from check()
    except Exception as error:
        if debug:
            import traceback

            traceback.print_exc()
        yield Finding(
            check.__name__, "broken", " ".join(f"{type(error).__name__}: {error}".split())
        )
