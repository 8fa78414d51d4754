"""Thousands of damaged files: each is read or refused by name, in time, and no ffmpeg is left.

The report (counts, kinds of damage, the slowest file) is printed, and saved to the file
HARMONY_FUZZ_REPORT if that is set.
"""

from __future__ import annotations

import json
import os
import random
import resource
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
import torch
from helpers.mutated_files import generated, mutate

from harmony_parts.errors import MediaError
from harmony_parts.media import ffmpeg, probe
from harmony_parts.media.clip import Clip
from harmony_parts.media.ffmpeg import Limits

# for one file, all of its processes together; the slowest of 2,200 took 0.9 s on a busy machine
SECONDS = 30.0
LIMITS = Limits(bytes=1 << 28, seconds=10.0)
REAL = 1 << 18  # bytes of a real file: its header, and some seconds


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Whole generated files, and the beginnings of real ones if there are any."""
    files = generated(tmp_path_factory.mktemp("whole"))
    real = Path(os.environ.get("HARMONY_CLIPS", Path(__file__).parents[3] / "shared" / "clips"))
    return files + sorted(path for path in real.glob("*.m*") if path.suffix in (".mp4", ".mpg"))


def fuzz(
    sources: list[Path], count: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, object]:
    """Read `count` damaged files; returns a summary."""
    contents = [path.read_bytes()[:REAL] for path in sources]
    running: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def watched(*args: object, **options: object) -> subprocess.Popen[bytes]:
        running.append(popen(*args, **options))  # type: ignore[call-overload]
        return running[-1]

    monkeypatch.setattr(ffmpeg.subprocess, "Popen", watched)
    monkeypatch.setattr(probe, "PROBE_SECONDS", LIMITS.seconds)
    outcomes, causes, slowest, began = Counter[str](), Counter[str](), (0.0, ""), time.monotonic()
    for number in range(count):
        generator = random.Random(number)
        which = number % len(sources)
        kind, damaged = mutate(contents[which], generator, contents)
        path = folder / f"{number}-{sources[which].name}"
        path.write_bytes(damaged)
        form = generator.choice(
            (
                {},
                {"seconds": 0.5},
                {"height": 16, "width": 16, "fps": 12, "sample_rate": 8000},
                {"start": 0.2},
            )
        )
        before = time.monotonic()
        try:
            clip = Clip.read(path, limits=LIMITS, **form)
            outcomes["read"] += 1
            assert clip.waveform is None or bool(clip.waveform.isfinite().all())
            assert clip.frames is None or clip.frames.dtype == torch.uint8
        except MediaError as error:
            outcomes["refused"] += 1
            cause = str(error)
            assert path.name in cause, f"{path.name} ({kind}): the error doesn't name the file"
            causes[cause.rpartition(": ")[2][:40]] += 1
        took = time.monotonic() - before
        assert took < SECONDS, f"{path.name} ({kind}) took {took:.1f} s"
        slowest = max(slowest, (took, f"{path.name} ({kind})"))
        assert all(process.poll() is not None for process in running), (
            f"{path.name} ({kind}): an ffmpeg is still running"
        )
        running.clear()
        path.unlink()
    return {
        "files": count,
        **outcomes,
        "slowest": {"seconds": round(slowest[0], 2), "file": slowest[1]},
        "seconds": round(time.monotonic() - began, 1),
        "greatest memory of one ffmpeg (MB)": (
            resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
        ),
        "most frequent causes": dict(causes.most_common(8)),
    }


def publish(report: dict[str, object], capsys: pytest.CaptureFixture[str]) -> None:
    """Print the report, and save it to HARMONY_FUZZ_REPORT if that is set."""
    text = json.dumps(report, indent=1, ensure_ascii=False)
    with capsys.disabled():
        print(f"\nfuzz: {text}")
    if file := os.environ.get("HARMONY_FUZZ_REPORT"):
        Path(file).write_text(text + "\n", encoding="utf-8")


def test_some_damaged_files(
    sources: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    report = fuzz(sources, 60, tmp_path, monkeypatch)
    assert report["read"]
    assert report["refused"]
    publish(report, capsys)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_two_thousand_damaged_files(
    sources: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    publish(fuzz(sources, 2200, tmp_path, monkeypatch), capsys)
