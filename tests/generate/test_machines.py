"""Machines as they are: an ffmpeg that can't run, a full disk, an output of another encoding."""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

import pytest
import torch
from helpers.command_line import jsonl
from safetensors.torch import load_file

from harmony_parts.errors import MediaError
from harmony_parts.generate import rescue
from harmony_parts.generate.generated import Generated
from harmony_parts.media import ffmpeg
from harmony_parts.media.clip import Clip
from harmony_parts.media.files import disk_of
from harmony_parts.report.progress import any_encoding, escape_unencodable

QUICK = ("--device", "cpu", "--steps", "1")


def program(path: Path, text: str) -> Path:
    """A shell script."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def clip_file(tmp_path: Path) -> Path:
    frames = torch.zeros(6, 16, 16, 3, dtype=torch.uint8)
    return Clip(frames, 12, torch.zeros(1, 4000), 8000).save(tmp_path / "v.mp4")


@pytest.mark.parametrize("kind", ["fails", "text", "absent", "other", "old"])
def test_an_ffmpeg_that_cannot_run_is_found_before_the_model_is_loaded(
    harmony, trained, clip_file, tmp_path, monkeypatch, kind
):
    """Also where a file is given: the file isn't blamed."""
    bad = tmp_path / "bad"
    if kind == "fails":
        program(bad, "echo cannot open shared object >&2; exit 126")
    elif kind == "text":
        bad.write_text("no program")
    elif kind == "other":
        program(bad, "echo hello")
    elif kind == "old":
        program(bad, "echo ffmpeg version 5.1.9-0+deb12u1 Copyright")
    fault = "is 5.1.9-0+deb12u1, and 7.0 or newer is needed" if kind == "old" else "can't run"
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(bad))
    monkeypatch.setattr(
        "harmony_parts.generate.load.load",
        lambda *args, **settings: pytest.fail("a model was loaded"),
    )
    batch = jsonl(tmp_path / "b.jsonl", {"prompt": "x"})
    for words in (
        ("generate", trained, "--out", tmp_path / "a.mp4", *QUICK),
        ("generate", trained, "--out", tmp_path / "a.mp4", "--video", clip_file, *QUICK),
        ("generate", trained, "--batch", batch, "--out", tmp_path / "clips", *QUICK),
        ("compare", trained, batch, "--out", tmp_path / "compared", *QUICK),
        ("measure", clip_file),
        ("train", "clips", "--data", tmp_path, "--out", tmp_path / "run"),
    ):
        result = harmony(*words)
        assert result.exit_code == 1, result.output
        assert f"error: {bad}: this ffmpeg {fault}" in result.output, words
        assert "unset it to use the ffmpeg of imageio-ffmpeg" in result.output
    assert not (tmp_path / "run").exists()


def test_an_ffmpeg_without_encoders_is_found_before_the_model_is_loaded(
    harmony, trained, tmp_path, monkeypatch
):
    lacking = program(tmp_path / "lacking", "echo ffmpeg version 9 aac flac")
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(lacking))
    result = harmony("generate", trained, "--out", tmp_path / "a.mp4", *QUICK)
    assert result.exit_code == 1
    assert "this ffmpeg has no encoder libx264" in result.output


@pytest.mark.parametrize("number", ["n9.0.2-17-g2a571b6068-20260930", "7.0.2-static", "N-1-g2a57"])
def test_releases_and_builds_of_no_release_are_used(tmp_path, monkeypatch, number):
    current = program(tmp_path / "current", f"echo ffmpeg version {number} Copyright")
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(current))
    assert ffmpeg.version() == f"ffmpeg version {number}"


def test_an_ffmpeg_that_crashes_is_named(clip_file, tmp_path, monkeypatch):
    """The static build 7.0.2 does on every MPEG transport stream."""
    answer = "echo ffmpeg version 7.0.2-static Copyright"
    bad = program(tmp_path / "bad", f"test $2 = -version && {answer} || kill -SEGV $$")
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(bad))
    with pytest.raises(MediaError, match=r"v\.mp4: .*7\.0\.2-static was ended by SIGSEGV; .*unset"):
        Clip.read(clip_file)


def test_the_ffmpeg_here_has_all_that_clips_need():
    ffmpeg.check_encoders()
    assert ffmpeg.version().startswith("ffmpeg version")


def test_a_disk_without_room_is_found_before_sampling(harmony, trained, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(rescue.shutil, "disk_usage", lambda path: usage._replace(free=1000))
    monkeypatch.setattr(
        "harmony_parts.generate.pipeline.Pipeline.run",
        lambda *args: pytest.fail("a clip was sampled"),
    )
    result = harmony("generate", trained, "--out", tmp_path / "a.mp4", *QUICK)
    assert result.exit_code == 1
    assert f"the disk {disk_of(tmp_path)} has 0.0 MB left" in result.output


def test_what_a_clip_takes_is_less_than_what_is_asked_for(harmony, trained, tmp_path):
    """The room that `check_room` asks for is that of the finished file, and more."""
    harmony("generate", trained, "--out", tmp_path / "a.mp4", *QUICK)
    assert (tmp_path / "a.mp4").stat().st_size < rescue.SPARE


@pytest.mark.parametrize("everywhere", [False, True])
def test_a_clip_that_cannot_be_written_is_kept(harmony, trained, tmp_path, monkeypatch, everywhere):
    """As the file that it should be or, if ffmpeg itself fails, as tensors."""
    kept, save = tmp_path / "kept", Generated.save
    kept.mkdir()
    monkeypatch.setattr(rescue.tempfile, "tempdir", str(kept))

    def failing(self, path, **more):
        if everywhere or Path(path).parent == tmp_path:
            raise MediaError(f"{path}: No space left on device")
        return save(self, path, **more)

    monkeypatch.setattr(Generated, "save", failing)
    result = harmony("generate", trained, "--out", tmp_path / "a.mp4", *QUICK)
    assert result.exit_code == 1
    (file,) = (path for path in kept.rglob("*") if path.is_file())
    assert f"{tmp_path / 'a.mp4'}: No space left on device; the clip is kept as {file}" in (
        result.output.replace("\n", "")
    )
    if everywhere:
        assert sorted(load_file(file)) == ["frames", "waveform"]
        Clip(**load_file(file), fps=12, sample_rate=8000)
    else:
        assert Clip.read(file).frames is not None


def test_nothing_about_printing_fails_a_job():
    """A line that the output can't encode is written with escapes."""
    output = io.TextIOWrapper(io.BytesIO(), encoding="latin-1", errors="strict")
    say = any_encoding(lambda line: print(line, file=output, flush=True))
    say("日 and ä")
    say("ä")
    assert output.buffer.getvalue().decode("latin-1") == "\\u65e5 and \\xe4\nä\n"


def test_the_command_line_escapes_what_its_output_cannot_encode(monkeypatch):
    output = io.TextIOWrapper(io.BytesIO(), encoding="cp1252", errors="strict")
    monkeypatch.setattr(sys, "stdout", output)
    escape_unencodable()
    print("日", flush=True)
    assert output.buffer.getvalue() == b"\\u65e5\n"


@pytest.mark.parametrize("place", ["/", "/proc/self"])
def test_the_disk_of_a_path_is_a_mount(place):
    assert disk_of(Path(place)).is_mount()
    assert disk_of(Path(place, "nothing", "there")).is_mount()
