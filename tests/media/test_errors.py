"""Files that can't be read or written give an error, cost little, and leave nothing behind."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from harmony_parts.errors import MediaError
from harmony_parts.media import ffmpeg, probe
from harmony_parts.media.clip import Clip
from harmony_parts.media.ffmpeg import Limits


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """The processes that the test starts."""
    processes: list[subprocess.Popen[bytes]] = []
    original = subprocess.Popen

    def popen(*args: object, **options: object) -> subprocess.Popen[bytes]:
        processes.append(original(*args, **options))  # type: ignore[call-overload]
        return processes[-1]

    monkeypatch.setattr(ffmpeg.subprocess, "Popen", popen)
    return processes


def test_files_that_are_not_media_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"none\.mp4: no such file"):
        Clip.read(tmp_path / "none.mp4")
    with pytest.raises(MediaError, match="is a folder"):
        Clip.read(tmp_path)
    text = "Some text that ffmpeg would draw as a picture.\n" * 200
    for name in ("readme.txt", "x.mp4", "x.nfo", "x.bin", "-i.mp4", "list.m3u8"):
        (tmp_path / name).write_text(
            text if name != "list.m3u8" else "#EXTM3U\n#EXTINF:1,\nhttp://192.0.2.1/a.ts\n"
        )
        with pytest.raises(MediaError, match="can't be read as media"):
            Clip.read(tmp_path / name)
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(MediaError, match=r"empty\.mp4: can't be read as media"):
        Clip.read(tmp_path / "empty.mp4")


def test_requested_streams_must_exist_and_arguments_be_valid(archive: Path, tmp_path: Path) -> None:
    wave = Clip(waveform=torch.zeros(1, 800), sample_rate=8000).save(tmp_path / "x.wav")
    with pytest.raises(MediaError, match=r"x\.wav: has no video"):
        Clip.read(wave, streams=("video",))
    silent = Clip(torch.zeros(3, 16, 16, 3, dtype=torch.uint8)).save(tmp_path / "x.mp4")
    with pytest.raises(MediaError, match=r"x\.mp4: has no sound"):
        Clip.read(silent, streams=("video", "audio"))
    assert Clip.read(silent).waveform is None
    assert Clip.read(archive, streams=("audio",)).frames is None
    assert Clip.read(archive, streams=("video",)).waveform is None
    with pytest.raises(MediaError, match="no frame at 5 s"):
        Clip.read(archive, start=5)
    for wrong in (
        {"start": -1},
        {"seconds": 0},
        {"height": 0},
        {"fps": 0},
        {"fps": 1e9},
        {"streams": ("smell",)},
    ):
        with pytest.raises(ValueError):
            Clip.read(archive, **wrong)


def test_files_above_the_limit_are_refused_before_decoding(
    tmp_path: Path, started: list[subprocess.Popen[bytes]]
) -> None:
    big = Clip(torch.zeros(4, 512, 512, 3, dtype=torch.uint8), 24).save(tmp_path / "x.mp4")
    size = 4 * 512 * 512 * 3
    started.clear()
    with pytest.raises(MediaError, match=r"x\.mp4: 4 frames of 512x512 take .* Limits\.bytes"):
        Clip.read(big, limits=Limits(bytes=size - 1))
    assert len(started) == 2  # probed, not decoded
    assert Clip.read(big, limits=Limits(bytes=size)).frames.shape == (4, 512, 512, 3)
    # A header may claim too little: the limit also holds while decoding.
    args = [
        "-f",
        "lavfi",
        "-i",
        "color=s=256x256:d=99999",
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgb24",
        "-",
    ]
    with pytest.raises(MediaError, match="more than the limit"):
        ffmpeg.run(args, big, Limits(bytes=1 << 22))
    assert all(process.poll() is not None for process in started)


def test_processes_end_in_time_and_on_exceptions(
    tmp_path: Path, started: list[subprocess.Popen[bytes]]
) -> None:
    endless = ["-re", "-f", "lavfi", "-i", "color=s=16x16", "-f", "null", "-"]
    before = time.monotonic()
    with pytest.raises(MediaError, match=r"x: ffmpeg took longer than 0\.3 s"):
        ffmpeg.run(endless, Path("x"), Limits(seconds=0.3))
    assert time.monotonic() - before < 10

    def broken() -> Iterator[bytes]:
        yield bytes(16 * 16 * 3)
        raise KeyboardInterrupt

    raw = [
        "-f",
        "rawvideo",
        "-pixel_format",
        "rgb24",
        "-video_size",
        "16x16",
        "-i",
        "pipe:0",
        "-f",
        "null",
        "-",
    ]
    with pytest.raises(KeyboardInterrupt):
        ffmpeg.run(raw, Path("x"), Limits(), feed=broken())
    assert len(started) == 2
    assert all(process.poll() is not None for process in started)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "wav", "flac"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"x.{suffix}"
    path.write_bytes(b"old")
    clip = Clip(torch.zeros(3, 16, 16, 3, dtype=torch.uint8), 24, torch.zeros(1, 6000), 48000)

    def full(*args: object) -> None:
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(MediaError, match=r"x\.\w+: can't be written: .*No space left"):
            clip.save(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    clip.save(path)
    assert list(tmp_path.iterdir()) == [path]
    assert Clip.read(path).seconds == 0.125


def test_names_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    clip = Clip(waveform=torch.zeros(1, 800), sample_rate=8000)
    for name, cause in (
        ("x.gif", "no frames"),
        ("x", "without a suffix"),
        ("no/x.mp4", "folder doesn't exist"),
    ):
        with pytest.raises(MediaError, match=cause):
            clip.save(tmp_path / name)
    with pytest.raises(MediaError, match=r"x\.mp4"):  # AAC has at most 16 channels
        Clip(waveform=torch.zeros(65, 800)).save(tmp_path / "x.mp4")
    assert list(tmp_path.iterdir()) == []


def test_names_are_never_options_patterns_or_urls(
    tmp_path: Path, run_ffmpeg: Callable[..., bytes]
) -> None:
    clip = Clip(torch.zeros(3, 16, 16, 3, dtype=torch.uint8), 24, torch.zeros(1, 6000), 48000)
    for name in ("-y.mp4", "a b'c\"d.mp4", "%03d.mp4", "pipe:1.mp4", "äöü,[x];.mkv"):
        assert Clip.read(clip.save(tmp_path / name)).seconds == 0.125


@pytest.mark.parametrize("part", [0.2, 0.5, 0.9])
def test_a_truncated_file_gives_its_remaining_frames(
    archive: Path, tmp_path: Path, part: float
) -> None:
    data = archive.read_bytes()
    path = tmp_path / "x.mkv"
    path.write_bytes(data[: int(len(data) * part)])
    clip = Clip.read(path)
    assert 1 <= len(clip.frames) <= 48
    assert clip.waveform.shape == (1, round(Fraction(len(clip.frames), 24) * 16000))
    assert torch.equal(clip.frames[:-1], Clip.read(archive).frames[: len(clip.frames) - 1])


def test_a_file_truncated_before_its_index_is_refused(
    archive: Path, tmp_path: Path, run_ffmpeg: Callable[..., bytes]
) -> None:
    path = tmp_path / "x.mp4"
    run_ffmpeg("-i", archive, "-c", "copy", path)  # its index comes last
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(MediaError, match=r"x\.mp4: can't be read as media"):
        Clip.read(path)


@pytest.mark.parametrize(
    ("nominal", "average", "rate"),
    [
        ("13999/583", "24.01", "24"),
        ("50", "25", "25"),
        ("30000/1001", "29.97", "30000/1001"),
        ("30", "23.98", "24000/1001"),
        ("90000", "14.37", "14.37"),
        ("24", None, "24"),
        (None, "59.94", "60000/1001"),
        (None, None, "25"),
    ],
)
def test_the_rate_is_the_nominal_or_a_usual_one_near_the_average(
    nominal: str | None, average: str | None, rate: str
) -> None:
    assert probe._rate(
        Fraction(nominal) if nominal else None, Fraction(average) if average else None
    ) == Fraction(rate)
