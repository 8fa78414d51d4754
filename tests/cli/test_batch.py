"""`harmony generate --batch` and `--preview`, and the provenance of clips."""

from __future__ import annotations

import json
import os
import signal
import subprocess

import pytest
import torch
from helpers.command_line import jsonl

from harmony_parts.assembly.declared import installed_version
from harmony_parts.media.clip import Clip
from harmony_parts.media.ffmpeg import executable

LINES = [
    {"prompt": "a red ball, bouncing", "seed": 3, "name": "ball"},
    {"prompt": "a hammer", "sound": "knocks"},
    {"prompt": "../../etc/passwd; rm -rf ~"},
]
QUICK = ("--device", "cpu", "--steps", "1")


def run(harmony, trained, batch, out, *args):
    return harmony("generate", trained, "--batch", batch, "--out", out, *QUICK, *args)


def test_finished_clips_of_a_batch_are_skipped(harmony, trained, tmp_path, monkeypatch):
    """They stay untouched, and if all clips are finished, no model is loaded."""
    batch, out = jsonl(tmp_path / "b.jsonl", *LINES), tmp_path / "new" / "clips"
    result = run(harmony, trained, batch, out)
    assert result.exit_code == 0, result.output
    names = ["0002-a-hammer-0.mp4", "0003-etc-passwd-rm-rf-0.mp4", "ball.mp4"]
    assert sorted(path.name for path in out.iterdir()) == sorted(
        [*names, *(f"{name}.json" for name in names)]
    )
    assert "1 of 3 done, about " in result.stdout
    times = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    monkeypatch.setattr(
        "harmony_parts.generate.load.load",
        lambda *args, **settings: pytest.fail("a model was loaded"),
    )
    again = run(harmony, trained, batch, out)
    assert again.exit_code == 0
    assert "3 of 3 clips already exist" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == times


def test_missing_damaged_or_changed_clips_are_generated_again(harmony, trained, tmp_path):
    out = tmp_path / "clips"
    assert run(harmony, trained, jsonl(tmp_path / "b.jsonl", *LINES), out).exit_code == 0
    first = (out / "ball.mp4").read_bytes()
    (out / "ball.mp4").unlink()
    (out / "0002-a-hammer-0.mp4.json").write_text("{")
    result = run(
        harmony,
        trained,
        jsonl(tmp_path / "b.jsonl", *LINES[:2], {**LINES[2], "seconds": 0.25}),
        out,
    )
    assert result.exit_code == 0, result.output
    assert "already" not in result.stdout
    assert (out / "ball.mp4").read_bytes() == first, "the same seed gives the same file"
    assert json.loads((out / "0003-etc-passwd-rm-rf-0.mp4.json").read_text())["seconds"] == 0.25


def test_a_clip_never_has_the_provenance_of_another(harmony, trained, tmp_path, monkeypatch):
    """Killed after the new clip and before its provenance: the old provenance is gone."""
    batch = jsonl(tmp_path / "b.jsonl", {"name": "x", "prompt": "a ball"})
    assert run(harmony, trained, batch, tmp_path).exit_code == 0
    with monkeypatch.context() as patch:
        patch.setattr(
            "harmony_parts.generate.provenance.write_sidecar",
            lambda *args: os.kill(os.getpid(), signal.SIGINT),
        )
        assert (
            run(
                harmony, trained, jsonl(tmp_path / "c.jsonl", {"name": "x", "seed": 8}), tmp_path
            ).exit_code
            == 130
        )
    assert not (tmp_path / "x.mp4.json").exists()
    assert "already" not in run(harmony, trained, batch, tmp_path).stdout


def test_a_failed_clip_does_not_stop_the_others(harmony, trained, tmp_path):
    (tmp_path / "no.wav").write_bytes(b"no sound")
    batch = jsonl(
        tmp_path / "b.jsonl",
        {"voice": "no.wav", "name": "bad"},
        {"prompt": "a bar", "name": "good"},
        {"seconds": 51, "name": "long"},
    )
    result = run(harmony, trained, batch, tmp_path / "clips")
    assert result.exit_code == 1
    assert "b.jsonl, line 1: " in result.stderr
    assert "no.wav: can't be read as media" in result.stderr
    assert "b.jsonl, line 3: 51 s are requested" in result.stderr
    assert "2 of 3 clips couldn't be generated" in result.stderr
    assert {path.name for path in (tmp_path / "clips").iterdir()} == {"good.mp4", "good.mp4.json"}


def test_all_faults_are_reported_before_the_model_is_loaded(
    harmony, trained, tmp_path, monkeypatch
):
    monkeypatch.setattr(
        "harmony_parts.generate.load.load", lambda *args: pytest.fail("the model was loaded")
    )
    batch = jsonl(tmp_path / "b.jsonl", {"name": "A"}, {"name": "a.mp4"}, {"seed": "x", "steps": 0})
    result = run(harmony, trained, batch, tmp_path / "clips")
    assert result.exit_code == 1
    assert "line 2: the name 'a.mp4' is already that of b.jsonl, line 1" in result.stderr
    assert result.stderr.count("line 3") == 2
    for name, content in (
        ("empty.csv", "prompt\n"),
        ("latin.csv", "prompt\nä\n".encode("latin-1")),
    ):
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        assert run(harmony, trained, tmp_path / name, tmp_path / "clips").exit_code == 1
    assert run(harmony, trained, jsonl(tmp_path / "b.txt"), tmp_path / "clips").exit_code == 2
    assert run(harmony, trained, jsonl(tmp_path / "c.jsonl", LINES[0]), batch).exit_code == 2


def test_provenance_is_in_the_clip_and_beside_it(harmony, trained, tmp_path):
    for suffix in ("mp4", "mkv"):
        out = tmp_path / f"x.{suffix}"
        result = harmony(
            "generate",
            trained,
            "--prompt",
            'a "red" ball; 1 = 1',
            "--seed",
            5,
            *QUICK,
            "--out",
            out,
        )
        assert result.exit_code == 0, result.output
        beside = json.loads((tmp_path / f"x.{suffix}.json").read_text())
        assert beside["prompt"] == 'a "red" ball; 1 = 1'
        assert (beside["seed"], beside["steps"], beside["harmony_parts"]) == (
            5,
            1,
            installed_version(),
        )
        assert beside["guidance"]["use"] == "harmony/sync-cfg"
        assert len(beside["model"]["recipe"]) == len(beside["model"]["weights"]) == 16
        command = [executable(), "-v", "error", "-i", out, "-f", "ffmetadata", "-"]
        metadata = subprocess.run(command, capture_output=True, check=True).stdout.decode()
        comment = next(
            line for line in metadata.splitlines() if line.lower().startswith("comment=")
        )
        unescaped = (
            comment.partition("=")[2]
            .replace("\\=", "=")
            .replace("\\;", ";")
            .replace("\\#", "#")
            .replace("\\\\", "\\")
        )
        assert json.loads(unescaped) == beside


def test_a_preview_is_drawn_beside_the_clip(harmony, trained, tmp_path):
    from PIL import Image

    result = harmony("generate", trained, "--preview", *QUICK, "--out", tmp_path / "x.mp4")
    assert result.exit_code == 0, result.output
    assert Image.open(tmp_path / "x.mp4.png").size[0] == 1200
    made = (tmp_path / "x.mp4").stat().st_mtime_ns
    (tmp_path / "x.mp4.png").unlink()
    batch = jsonl(tmp_path / "b.jsonl", {"name": "x"})
    assert run(harmony, trained, batch, tmp_path, "--preview").exit_code == 0
    assert (tmp_path / "x.mp4.png").is_file(), "also of a clip that exists already"
    assert (tmp_path / "x.mp4").stat().st_mtime_ns == made
    result = harmony("generate", trained, "--preview", *QUICK, "--out", tmp_path / "x.wav")
    assert result.exit_code == 2


def test_previews_are_drawn_while_sampling(harmony, trained, tmp_path, monkeypatch):
    """Every few steps, and at last from the clip itself, which is the same as without previews."""
    from harmony_parts.report import contact_sheet

    drawn, draw = [], contact_sheet.contact_sheet

    def record(rows, path, heading=""):
        drawn.append((heading, rows[0].clip.frames))
        return draw(rows, path, heading)

    monkeypatch.setattr(contact_sheet, "contact_sheet", record)
    args = (
        "generate",
        trained,
        "--prompt",
        "a ball",
        "--seconds",
        "0.5",
        "--seed",
        "3",
        "--steps",
        "5",
        "--guidance",
        "none",
    )
    result = harmony(*args, "--preview-every", "2", "--out", tmp_path / "new" / "x.mp4")
    assert result.exit_code == 0, result.output
    headings = [
        "x.mp4, seed 3, after step 2 of 5",
        "x.mp4, seed 3, after step 4 of 5",
        "x.mp4, seed 3",
    ]
    assert [heading for heading, _ in drawn] == headings
    assert (tmp_path / "new" / "x.mp4.png").is_file()
    early, late, end = (frames.float() for _, frames in drawn)
    apart = [(frames - end).abs().mean().item() for frames in (early, late)]
    assert apart[1] < 1.01 * apart[0] < 20, "estimates near the clip, and no noise"
    assert harmony(*args, "--out", tmp_path / "y.mp4").exit_code == 0
    assert torch.equal(
        Clip.read(tmp_path / "y.mp4").frames, Clip.read(tmp_path / "new" / "x.mp4").frames
    )


def test_offload_is_ignored_on_the_cpu(harmony, trained, tmp_path):
    result = harmony(
        "generate",
        trained,
        *QUICK,
        "--device",
        "cpu",
        "--offload",
        "layers",
        "--out",
        tmp_path / "x.mp4",
    )
    assert result.exit_code == 0, result.output
    assert "--offload layers is ignored: on the CPU all weights are in host" in result.stderr


def test_absurd_lengths_are_refused_before_media_are_read(harmony, trained, tmp_path, monkeypatch):
    """Requested, or of a given sound. The model was trained on half a second."""
    monkeypatch.setattr(
        "harmony_parts.generate.request.Request.inputs",
        lambda *args: pytest.fail("the given media were read"),
    )
    result = harmony("generate", trained, "--seconds", "1e9", *QUICK, "--out", tmp_path / "x.mp4")
    assert result.exit_code == 2
    assert "1e+09 s are requested, and this model was trained on 0.5 s" in result.stderr
    long = Clip(waveform=torch.zeros(1, 60 * 8000), sample_rate=8000).save(tmp_path / "long.wav")
    result = harmony("generate", trained, "--audio", long, *QUICK, "--out", tmp_path / "x.mp4")
    assert result.exit_code == 2
    assert "long.wav, lasts 60 s" in result.stderr
