"""Fixtures of the media tests: the ffmpeg program, and a flash-and-click clip as a file."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.media_truth import flash_and_click

from harmony_parts.media import ffmpeg
from harmony_parts.media.clip import Clip


@pytest.fixture(scope="session")
def run_ffmpeg() -> Callable[..., bytes]:
    """A function that runs ffmpeg and returns its stdout."""

    def run(*args: object) -> bytes:
        done = subprocess.run(
            [ffmpeg.executable(), "-hide_banner", "-loglevel", "error", "-y", *map(str, args)],
            capture_output=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    return run


@pytest.fixture(scope="session")
def crashes() -> Callable[[Path], bool]:
    """Whether ffmpeg itself crashes on a file, as the static build 7.0.2 does on every .ts."""

    def ask(path: Path) -> bool:
        command = [ffmpeg.executable(), "-i", path, "-c", "copy", "-f", "null", "-"]
        return subprocess.run(command, capture_output=True, timeout=60).returncode < 0

    return ask


@pytest.fixture(scope="session")
def truth() -> Clip:
    """A flash-and-click clip of 2 s, 24 frames per second, 16 kHz."""
    return flash_and_click()


@pytest.fixture(scope="session")
def archive(truth: Clip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clip as mkv: H.264 and FLAC."""
    return truth.save(tmp_path_factory.mktemp("archive") / "truth.mkv")
