"""`harmony generate --batch`, `--preview`, and the notes of what a clip was made from."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import unicodedata
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harmony_parts.assembly.declared import installed_version
from harmony_parts.errors import RequestError
from harmony_parts.generate.batch_file import SUFFIXES, _name, read_batch, slug
from harmony_parts.media.clip import Clip
from harmony_parts.media.ffmpeg import executable

LINES = [
    {"prompt": "a red ball, bouncing", "seed": 3, "name": "ball"},
    {"prompt": "a hammer", "sound": "knocks"},
    {"prompt": "../../etc/passwd; rm -rf ~"},
]
QUICK = ("--device", "cpu", "--steps", "1")


def jsonl(path: Path, *lines: object) -> Path:
    path.write_text(
        "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    )
    return path


def run(harmony, trained, batch, out, *args):
    return harmony("generate", trained, "--batch", batch, "--out", out, *QUICK, *args)


def test_a_batch_is_made_once(harmony, trained, tmp_path, monkeypatch):
    """Every clip with its note; what is there already, from the same request, isn't touched, and
    where that is all, no model is loaded.
    """
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
    assert "3 of 3 clips are there already" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == times


def test_what_is_missing_damaged_or_asked_for_otherwise_is_made_anew(harmony, trained, tmp_path):
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
    assert (out / "ball.mp4").read_bytes() == first, "the same seed makes the same file"
    assert json.loads((out / "0003-etc-passwd-rm-rf-0.mp4.json").read_text())["seconds"] == 0.25


def test_a_clip_never_has_the_note_of_another(harmony, trained, tmp_path, monkeypatch):
    """Killed between the new clip and its note: there is none, and the old request isn't taken for
    done.
    """
    batch = jsonl(tmp_path / "b.jsonl", {"name": "x", "prompt": "a ball"})
    assert run(harmony, trained, batch, tmp_path).exit_code == 0
    with monkeypatch.context() as patch:
        patch.setattr(
            "harmony_parts.generate.provenance.write",
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


def test_a_clip_that_fails_stops_no_other(harmony, trained, tmp_path):
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
    assert "b.jsonl, line 3: 51 s are asked for" in result.stderr
    assert "2 of 3 clips couldn't be made" in result.stderr
    assert {path.name for path in (tmp_path / "clips").iterdir()} == {"good.mp4", "good.mp4.json"}


def test_a_table_is_read_as_spreadsheets_write_it(tmp_path):
    (tmp_path / "v.wav").touch()
    text = (
        '\ufeffprompt, seed ,seconds,voice,extra,name\r\n"a ball, red",7,1.5,v.wav,"{""a"":'
        ' 1}",x.mkv\r\n,,,,,\r\nb,,,,,\r\n'
    )
    (tmp_path / "b.csv").write_text(text, newline="")
    first, empty, last = read_batch(tmp_path / "b.csv", 0)
    assert first.asked == {
        "prompt": "a ball, red",
        "seed": 7,
        "seconds": 1.5,
        "voice": tmp_path / "v.wav",
        "extra": {"a": 1},
    }
    assert (first.name, empty.name, last.name) == ("x.mkv", "0003-0.mp4", "0004-b-0.mp4")
    assert last.where == "b.csv, line 4"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ({"promt": "x"}, "unknown column 'promt' (did you mean 'prompt'?)"),
        ({"seed": -1}, "seed -1 is no whole number above or at 0"),
        ({"seed": 1.5}, "seed 1.5 is no whole number"),
        ({"steps": True}, "steps True is no whole number above 0"),
        ({"seconds": float("inf")}, "seconds inf is no number above 0"),
        ({"prompt": 3}, "prompt 3 is no text"),
        ({"image": "absent.png"}, "image 'absent.png': no such file"),
        ({"extra": [1]}, "extra isn't a JSON object"),
        ({"name": "../x"}, "'../x' is no safe name of a file: it has '/'"),
        ({"name": "a\nb"}, "no safe name of a file: it has '\\n'"),
        ({"name": "CON.mp4"}, "is no safe name"),
        ({"name": "-rf"}, "is no safe name"),
        ({"name": "ä" * 101}, "longer than 200 bytes"),
        ("[1]", "isn't a JSON object: [1]"),
        ("{", "isn't a JSON object: {"),
    ],
)
def test_faults_are_told_by_line(line, says, tmp_path):
    with pytest.raises(RequestError) as error:
        read_batch(jsonl(tmp_path / "b.jsonl", {"prompt": "fine"}, line), 0)
    assert (
        f"b.jsonl, line 2: {says}" in str(error.value)
        or f"b.jsonl, line 2: the name {says}" in str(error.value)
        or says in str(error.value)
    )
    assert "line 2" in str(error.value)
    assert "line 1" not in str(error.value)


def test_all_faults_are_told_at_once_and_before_the_model_is_loaded(
    harmony, trained, tmp_path, monkeypatch
):
    monkeypatch.setattr(
        "harmony_parts.generate.load.load", lambda *args: pytest.fail("the model was loaded")
    )
    batch = jsonl(tmp_path / "b.jsonl", {"name": "A"}, {"name": "a.mp4"}, {"seed": "x", "steps": 0})
    result = run(harmony, trained, batch, tmp_path / "clips")
    assert result.exit_code == 1
    assert "line 2: the name 'a.mp4' is that of b.jsonl, line 1, too" in result.stderr
    assert result.stderr.count("line 3") == 2
    for name, content in (
        ("empty.csv", "prompt\n"),
        ("latin.csv", "prompt\nä\n".encode("latin-1")),
    ):
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        assert run(harmony, trained, tmp_path / name, tmp_path / "clips").exit_code == 1
    assert run(harmony, trained, jsonl(tmp_path / "b.txt"), tmp_path / "clips").exit_code == 2
    assert run(harmony, trained, jsonl(tmp_path / "c.jsonl", LINES[0]), batch).exit_code == 2


@given(st.text(max_size=300), st.text(max_size=60) | st.none(), st.integers(0, 2**63 - 1))
def test_names_are_safe_whatever_is_asked_for(prompt, name, seed):
    made, fault = _name(name, 12, {"prompt": prompt, "seed": seed}, 0)
    if fault:
        return
    assert Path(made).name == made
    assert Path(made).suffix in SUFFIXES
    assert not made.startswith((".", "-"))
    assert len(f"{made}.json".encode()) <= 255
    assert not [c for c in made if c in '/\\:*?"<>|' or unicodedata.category(c).startswith("C")]
    assert slug(prompt) == slug(slug(prompt))


def test_the_note_is_inside_the_file_and_beside_it(harmony, trained, tmp_path):
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
        noted = subprocess.run(command, capture_output=True, check=True).stdout.decode()
        comment = next(line for line in noted.splitlines() if line.lower().startswith("comment="))
        unescaped = (
            comment.partition("=")[2]
            .replace("\\=", "=")
            .replace("\\;", ";")
            .replace("\\#", "#")
            .replace("\\\\", "\\")
        )
        assert json.loads(unescaped) == beside


def test_the_recipe_hash_tells_recipes_apart(trained):
    import attrs

    from harmony_parts.assembly.read import read_recipe
    from harmony_parts.generate.provenance import recipe_hash

    recipe = read_recipe(trained / "recipe.toml")
    assert recipe_hash(recipe) == recipe_hash(read_recipe(trained / "recipe.toml"))
    assert recipe_hash(
        attrs.evolve(recipe, train=attrs.evolve(recipe.train, seed=1))
    ) != recipe_hash(recipe)


def test_a_preview_is_a_picture_beside_the_clip(harmony, trained, tmp_path):
    from PIL import Image

    result = harmony("generate", trained, "--preview", *QUICK, "--out", tmp_path / "x.mp4")
    assert result.exit_code == 0, result.output
    assert Image.open(tmp_path / "x.mp4.png").size[0] == 1200
    made = (tmp_path / "x.mp4").stat().st_mtime_ns
    (tmp_path / "x.mp4.png").unlink()
    batch = jsonl(tmp_path / "b.jsonl", {"name": "x"})
    assert run(harmony, trained, batch, tmp_path, "--preview").exit_code == 0
    assert (tmp_path / "x.mp4.png").is_file(), "of a clip that is there, too"
    assert (tmp_path / "x.mp4").stat().st_mtime_ns == made
    result = harmony("generate", trained, "--preview", *QUICK, "--out", tmp_path / "x.wav")
    assert result.exit_code == 2


def test_a_clip_can_be_watched_while_it_is_made(harmony, trained, tmp_path, monkeypatch):
    """The picture beside it is drawn anew after every so many steps, at last from the clip itself,
    which is the same as unwatched.
    """
    from harmony_parts.report import contact_sheet

    drawn, draw = [], contact_sheet.contact_sheet

    def seen(rows, path, heading=""):
        drawn.append((heading, rows[0].clip.frames))
        return draw(rows, path, heading)

    monkeypatch.setattr(contact_sheet, "contact_sheet", seen)
    asked = (
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
    result = harmony(*asked, "--preview-every", "2", "--out", tmp_path / "new" / "x.mp4")
    assert result.exit_code == 0, result.output
    headings = [
        "x.mp4, seed 3, after step 2 of 5",
        "x.mp4, seed 3, after step 4 of 5",
        "x.mp4, seed 3",
    ]
    assert [heading for heading, _ in drawn] == headings
    assert (tmp_path / "new" / "x.mp4.png").is_file()
    early, late, end = (frames.float() for _, frames in drawn)
    assert (late - end).abs().mean() < (early - end).abs().mean(), (
        "it comes nearer to what it becomes"
    )
    assert harmony(*asked, "--out", tmp_path / "y.mp4").exit_code == 0
    assert torch.equal(
        Clip.read(tmp_path / "y.mp4").frames, Clip.read(tmp_path / "new" / "x.mp4").frames
    )


def test_offload_is_for_gpus(harmony, trained, tmp_path):
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
    assert (
        "--offload layers is left out: on the CPU there is nowhere to bring weights to"
        in result.stderr
    )


def test_absurd_lengths_are_refused_before_anything_is_made(
    harmony, trained, tmp_path, monkeypatch
):
    """Asked for, or those of a sound that is given. The model was trained on half a second."""
    monkeypatch.setattr(
        "harmony_parts.generate.pipeline.Pipeline.generate",
        lambda *args, **given: pytest.fail("it was made"),
    )
    result = harmony("generate", trained, "--seconds", "1e9", *QUICK, "--out", tmp_path / "x.mp4")
    assert result.exit_code == 2
    assert "1e+09 s are asked for, and this model was trained on 0.5 s" in result.stderr
    import torch

    long = Clip(waveform=torch.zeros(1, 60 * 8000), sample_rate=8000).save(tmp_path / "long.wav")
    result = harmony("generate", trained, "--audio", long, *QUICK, "--out", tmp_path / "x.mp4")
    assert result.exit_code == 2
    assert "long.wav lasts 60 s" in result.stderr
