"""`harmony doctor` finds faults of an installation."""

from __future__ import annotations

import sys

import pytest

from harmony_parts.cli import doctor


def findings(check, state):
    return [finding for finding in check() if finding.state == state]


def test_a_working_installation_passes(harmony, monkeypatch):
    result = harmony("doctor")
    assert result.exit_code == 0, result.output
    assert "everything works" in result.output
    for what in (
        "python",
        "torch ",
        "torchaudio",
        "cuda",
        "attention",
        "ffmpeg",
        "soundfile",
        "parts",
        "mp4",
    ):
        assert f" {what}" in result.output


def test_a_torchaudio_of_another_version_is_found(monkeypatch):
    versions = {"torchaudio": "2.10.0"}
    monkeypatch.setattr(doctor, "_version", lambda name: versions.get(name, ""))
    (finding,) = findings(doctor.torch, "broken")
    assert finding.what == "torchaudio"
    assert "2.10.0 doesn't match torch" in finding.text
    assert finding.remedy.startswith("pip install 'torchaudio==")


@pytest.mark.parametrize(
    ("torch", "torchaudio", "wrong"),
    [
        ("2.9.1", "2.9.1", False),
        ("2.9.1", "2.11.1", True),
        ("2.11.0", "2.11.1", False),
        ("2.14.1+cu130", "2.11.1+cpu", False),
        ("2.14.1", "2.10.0", True),
    ],
)
def test_the_last_torchaudio_works_with_newer_torch(monkeypatch, torch, torchaudio, wrong):
    monkeypatch.setattr("torch.__version__", torch)
    monkeypatch.setattr(doctor, "_version", lambda name: torchaudio)
    assert bool(findings(doctor.torch, "broken")) is wrong


def test_backends_that_cannot_run_are_noted(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (finding,) = findings(doctor.attention, "note")
    assert finding.text == "triton: there is no CUDA device"
    assert any("by default eager" in finding.text for finding in findings(doctor.attention, "ok"))


def test_a_missing_torchaudio_is_found(monkeypatch):
    monkeypatch.setattr(doctor, "_version", lambda name: "")
    assert "isn't installed" in findings(doctor.torch, "broken")[0].text


def test_a_missing_driver_is_noted(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(doctor, "CUDA_LIBRARY", "libthatisnotthere.so")
    (finding,) = doctor.gpu()
    assert finding.state == "note"
    assert "no NVIDIA driver" in finding.text
    monkeypatch.setattr(doctor, "driver_version", lambda: "11.4")
    (finding,) = doctor.gpu()
    assert "a driver for CUDA 11.4, but no device" in finding.text
    monkeypatch.setattr(torch.version, "cuda", None)
    (finding,) = doctor.gpu()
    assert "without CUDA" in finding.text


def test_an_ffmpeg_that_does_not_work_is_found(harmony, monkeypatch):
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", sys.executable)  # a program, but not ffmpeg
    result = harmony("doctor")
    assert result.exit_code == 1
    assert "broken  ffmpeg" in result.output
    assert "broken  mp4" in result.output or "broken  roundtrip" in result.output
    assert "2 faults found" in result.output
    assert "Traceback" not in result.output


def test_a_clip_that_is_read_back_out_of_sync_is_found(monkeypatch):
    from harmony_parts.media.clip import Clip

    read = Clip.read

    def late(path):
        clip = read(path)
        return Clip(clip.frames.roll(2, 0), clip.fps, clip.waveform, clip.sample_rate)

    monkeypatch.setattr(Clip, "read", late)
    (finding,) = doctor.roundtrip()
    assert finding.state == "broken"
    assert "frame 8 (of 6)" in finding.text


@pytest.mark.parametrize(
    ("change", "side"), [(lambda x: x.flip(0), "right"), (lambda x: x[:1].repeat(2, 1), "no side")]
)
def test_sound_that_is_read_back_on_another_side_is_found(monkeypatch, change, side):
    from harmony_parts.media.clip import Clip

    read = Clip.read

    def changed(path):
        clip = read(path)
        return Clip(clip.frames, clip.fps, change(clip.waveform), clip.sample_rate)

    monkeypatch.setattr(Clip, "read", changed)
    (finding,) = doctor.roundtrip()
    assert finding.state == "broken"
    assert f"on the {side} (of left)" in finding.text
