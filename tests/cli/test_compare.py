"""`harmony compare`: its clips, page and numbers, how it continues, and its errors."""

from __future__ import annotations

import json
import re
import tomllib
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from harmony_parts.assembly.read import read_recipe
from harmony_parts.generate.load import load
from harmony_parts.generate.pipeline import Pipeline
from harmony_parts.guidance.cfg import CFG
from harmony_parts.guidance.sum import Sum
from harmony_parts.guidance.sync_cfg import SyncCFG
from harmony_parts.media.clip import Clip
from harmony_parts.metrics.compare import Compared
from harmony_parts.metrics.compare import compare as compare_clips
from harmony_parts.metrics.correlation import Correlation
from harmony_parts.metrics.events import Events
from harmony_parts.report.score_table import cells


@pytest.fixture
def run(harmony, trained, tmp_path, monkeypatch):
    """`run(*words)`: the command on the tiny model, for one step, in a folder with prompt files."""
    monkeypatch.chdir(tmp_path)
    Path("prompts.txt").write_text(
        "# two\na ball falls\n\nrain & <thunder>\na ball falls\n", encoding="utf-8"
    )
    Path("one.txt").write_text("a ball falls\n", encoding="utf-8")

    def main(*words, prompts="prompts.txt", fails=0):
        result = harmony(
            "compare", trained, prompts, "--out", "out", "--steps", "1", "--device", "cpu", *words
        )
        assert result.exit_code == fails, result.output
        return result

    return main


@pytest.fixture
def unloaded(monkeypatch):
    """Fails the test if a model is loaded."""
    monkeypatch.setattr(
        "harmony_parts.generate.load.load",
        lambda *args, **settings: pytest.fail("a model was loaded"),
    )


def results():
    return json.loads(Path("out/results.json").read_text(encoding="utf-8"))


def page():
    return Path("out/index.html").read_text(encoding="utf-8")


def written():
    return {file.as_posix(): file.stat().st_mtime_ns for file in Path("out").glob("*/*.mp4")}


def test_guidances_are_shown_side_by_side(run, trained):
    """A clip for each prompt, seed and guidance, as the pipeline generates it, and a page of them.

    The page links to nothing outside its folder.
    """
    result = run("--with-text", "--seed", "5", "--seeds", "2")
    folders = ["none", "cfg", "cfg+modality", "cfg+sync-cfg", "recipe"]
    stems = [
        f"{name}-5{more}"
        for name in ("0002-a-ball-falls", "0004-rain-thunder")
        for more in ("", "+1")
    ]
    files = [file.replace("%2B", "+") for file in re.findall(r'src="([^"]+)"', page())]
    assert files == [f"{folder}/{stem}.mp4" for stem in stems for folder in folders]
    assert [clip["file"] for clip in results()["clips"]] == files
    clips = {file: Clip.read(Path("out", file)) for file in files}
    assert {tuple(clip.frames.shape) for clip in clips.values()} == {(6, 16, 16, 3)}
    own = load(trained).generate(
        "rain & <thunder>", seed=1_000_006, steps=1, guidance=Sum((CFG(), SyncCFG()))
    )
    again = Clip.read(own.save("again.mp4"))
    assert torch.equal(again.frames, clips["cfg+sync-cfg/0004-rain-thunder-5+1.mp4"].frames)
    assert torch.equal(again.waveform, clips["cfg+sync-cfg/0004-rain-thunder-5+1.mp4"].waveform)
    assert not torch.equal(again.frames, clips["none/0004-rain-thunder-5+1.mp4"].frames)
    assert not re.search("https?:|<link|@import", page())
    texts = (
        "rain &amp; &lt;thunder&gt; <small>seed 1000006",
        "a ball falls <small>seed 5<",
        "SyncCFG(video=3.0, audio=2.0",
        "steps: 1; Euler()",
        "torch 2.",
    )
    for piece in (
        *texts,
        str(trained),
        "): 4 passes a step",
        "NoGuidance(): 1 pass a step",
        "20 of 20 exist",
    ):
        assert piece in page()
    assert re.search(r"2 of 20 done, about .* left\n", result.stdout)
    assert result.stdout.endswith("20 of 20 done\nout/index.html\n")
    assert read_recipe("out/recipe.toml") == read_recipe(trained / "recipe.toml")


def test_every_clip_is_measured(run):
    """Each clip, and all clips of a column with chance; the page shows the numbers of the JSON."""
    loose = ("onset=0.5", "flash=0.0001", "contrast=0")
    run(
        "--guidance",
        "none",
        "--guidance",
        "cfg",
        "--metric",
        "correlation",
        *(w for s in loose for w in ("--metric", f"mine.{s}")),
        "--metric",
        "mine.use=events",
        "--metric",
        "mine.onset=0.5",
        "--metric",
        "mine.flash=0.0001",
        "--metric",
        "mine.contrast=0",
    )
    metrics = {"correlation": Correlation(), "mine": Events(onset=0.5, flash=0.0001, contrast=0)}
    report = results()
    assert [column["name"] for column in report["columns"]] == ["none", "cfg"]
    for column in report["columns"]:
        of = [clip for clip in report["clips"] if clip["column"] == column["name"]]
        clips = [Clip.read(Path("out", clip["file"])) for clip in of]
        assert column["numbers"].keys() == metrics.keys()
        for name, metric in metrics.items():
            compared = compare_clips(metric, clips)
            assert column["numbers"][name] == {n: each.json() for n, each in compared.items()}
            for clip, entry in zip(clips, of, strict=True):
                analysis = metric.analyse(clip)
                assert entry["numbers"][name] == metric.score(analysis.video, analysis.audio)
    assert all(clip["seconds"] > 0 for clip in report["clips"])
    first = Compared(**report["columns"][0]["numbers"]["correlation"]["correlation"])
    shown = f"<td>{cells(first)[1]}</td>"
    for text in (
        "events seen",
        "events matched",
        "correlation of motion and sound, at its peak",
        shown,
    ):
        assert text in page()


def test_all_three_tasks_are_compared(run, tmp_path):
    """With a batch file's given streams: each clip contains its own, and takes fewer passes."""
    wave = 0.5 * torch.sin(torch.arange(24000) * 0.3)[None]
    given = Clip(
        torch.full((12, 32, 32, 3), 90, dtype=torch.uint8), Fraction(24), wave, 48000
    ).save(tmp_path / "given.mp4")
    Clip.read(given, streams={"audio"}, seconds=0.5).save(tmp_path / "given.wav")
    lines = [
        {"sound": "a hum", "name": "joint"},
        {"audio": "given.wav", "name": "a"},
        {"video": "given.mp4", "name": "v", "seed": 3},
    ]
    Path("tasks.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    run("--guidance", "sync-cfg", prompts="tasks.jsonl")
    assert [clip["title"] for clip in results()["clips"]] == [
        "a hum",
        "no text; audio given.wav",
        "no text; video given.mp4",
    ]
    assert [clip["seed"] for clip in results()["clips"]] == [0, 1_000_000, 3]
    assert results()["columns"][0]["passes"] == round((3 + 2 + 2) / 3, 2)
    assert torch.allclose(
        Clip.read(Path("out/sync-cfg/a.mp4")).waveform,
        Clip.read(tmp_path / "given.wav").waveform,
        atol=2**-22,
        rtol=0,
    )
    assert torch.equal(Clip.read(Path("out/sync-cfg/v.mp4")).frames, Clip.read(given).frames)


def test_an_interrupted_comparison_continues(run, monkeypatch):
    """Finished clips stay, and an unfinished one is generated again.

    If all clips exist, no model is loaded.
    """
    generate, calls = Pipeline.run, []

    def interrupted(self, *args, **settings):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return generate(self, *args, **settings)

    monkeypatch.setattr(Pipeline, "run", interrupted)
    assert (
        "stopped; the same command continues from there" in run(prompts="one.txt", fails=130).stderr
    )
    assert page().count("not generated yet") == 2
    monkeypatch.setattr(Pipeline, "run", generate)
    # as if it had been stopped between the clip and its provenance
    Path("out/cfg/0001-a-ball-falls-0.mp4.json").unlink()
    before = written()
    result = run(prompts="one.txt")
    assert len(written()) == 4  # the recipe's own guidance is sync-cfg
    assert [file for file in before if before[file] == written()[file]] == [
        "out/none/0001-a-ball-falls-0.mp4"
    ]
    assert "1 of 4 clips already exist in out" in result.stdout
    first = results()
    monkeypatch.setattr(
        "harmony_parts.generate.load.load",
        lambda *args, **settings: pytest.fail("a model was loaded"),
    )
    run(prompts="one.txt")
    assert results() == first
    # measured again, not generated
    assert "4 of 4 clips already exist" in run("--metric", "events", prompts="one.txt").stdout
    assert results()["columns"][0]["numbers"].keys() == {"events"}


def test_clips_with_other_settings_are_never_overwritten(run):
    """They may have taken hours."""
    one = ("--guidance", "none")
    run(*one, prompts="one.txt")
    clip, sidecar = (
        Path("out/none/0001-a-ball-falls-0.mp4"),
        Path("out/none/0001-a-ball-falls-0.mp4.json"),
    )
    before = clip.read_bytes()
    Path("other.jsonl").write_text(
        json.dumps({"prompt": "a door", "name": clip.name}), encoding="utf-8"
    )
    for words, prompts, differ in (
        (("--steps", "2"), "one.txt", "steps"),
        (("--dtype", "bfloat16"), "one.txt", "model"),
        ((), "other.jsonl", "prompt"),
        (("--guidance", "none.use=cfg"), "one.txt", "guidance"),
    ):
        refused = run(*one, *words, prompts=prompts, fails=1).stderr
        assert (
            f"{clip}: exists with another {differ}; choose another --out, or remove out" in refused
        )
    assert clip.read_bytes() == before
    sidecar.unlink()
    run(*one, "--steps", "2", prompts="one.txt")  # without provenance it was never finished


def test_a_failed_clip_does_not_stop_the_others(run):
    """The page shows the reason, and the exit code is 1."""
    Path("no.wav").write_bytes(b"no sound")
    Path("voices.jsonl").write_text('{"voice": "no.wav", "name": "bad"}\n{"name": "good"}')
    result = run("--guidance", "none", "--guidance", "cfg", prompts="voices.jsonl", fails=1)
    assert "2 clips couldn't be generated; the same command tries again" in result.stderr
    assert "out/cfg/bad.mp4 can't be generated: " in result.stderr
    assert written().keys() == {"out/none/good.mp4", "out/cfg/good.mp4"}
    assert page().count("no.wav: can&#x27;t be read as media") == 2


def test_guidances_that_the_model_cannot_run_are_left_out(run):
    """Before any clip is generated, with the reason on the page."""
    result = run(
        "--guidance", "sync-cfg.audio=4", "--guidance", "skip-layer.layer=7", prompts="one.txt"
    )
    assert "skip-layer is left out: the guidance SkipLayer(layer=7" in result.stderr
    assert {file.split("/")[1] for file in written()} == {"sync-cfg"}
    assert "SyncCFG(video=3.0, audio=4.0" in page()
    assert "left out: the guidance SkipLayer(layer=7" in page()
    assert (
        "this model can't run any of these guidances"
        in run("--guidance", "skip-layer", prompts="one.txt", fails=1).stderr
    )


def test_mistakes_are_reported_before_the_model_is_loaded(run, unloaded):
    """On one line, with a remedy."""
    Path("empty.txt").write_text("# none\n", encoding="utf-8")
    Path("latin.txt").write_bytes("Gewölbe".encode("latin-1"))
    Path("sound.jsonl").write_text('{"name": "x.wav"}')
    Path("seeds.jsonl").write_text('{"name": "x"}\n{"name": "X+1"}')
    for prompts, code, cause in (
        ("none.txt", 2, "does not exist"),
        ("empty.txt", 1, "empty.txt: has no requests"),
        ("latin.txt", 1, "isn't txt in UTF-8"),
        (__file__, 2, "must end in one of .txt, .csv, .jsonl"),
        ("sound.jsonl", 1, "'x.wav' is that of a sound"),
        ("seeds.jsonl", 1, "choose other names"),
    ):
        assert cause in run("--seeds", "2", prompts=prompts, fails=code).stderr
    for words, code, cause in (
        (("--out", "prompts.txt"), 2, "is a file"),
        (("--device", "cuda:99"), 2, "can't be used"),
        (("--guidance", "cfgg"), 1, "did you mean 'cfg'"),
        (("--guidance", "mine.use=cfgg"), 1, "the guidance mine"),
        (("--guidance", "sync-cfg.vidoe=2"), 1, "did you mean 'video'"),
        (("--guidance", "sync-cfg=2"), 1, "the guidance sync-cfg"),
        (("--guidance", "/up.use=cfg"), 1, "'/up': a name has only letters"),
        (("--guidance", "CFG.use=cfg"), 1, "upper and lower case"),
        (("--metric", "event"), 1, "did you mean 'events'"),
        (("--steps", "0"), 2, "--steps"),
        (("--seconds", "inf"), 2, "seconds must be a finite number above 0, not inf"),
        (("--seed", "-1"), 2, "--seed"),
    ):
        assert cause in " ".join(run(*words, fails=code).stderr.split())
    assert not Path("out").exists()


def test_clips_of_one_stream_are_shown_without_sync(harmony, recipe, tmp_path):
    table = tomllib.loads(recipe.read_text())
    denoiser = table["denoiser"]
    table |= {
        "denoiser": {"use": "video-only", "layers": 1, "video": denoiser["video"]},
        "task": {"use": "joint"},
    }
    del table["codecs"]["audio"], table["encoders"]["voice"]
    Pipeline.assemble(read_recipe(table)).save(tmp_path / "model")
    (tmp_path / "p.txt").write_text("a ball")
    result = harmony(
        "compare",
        tmp_path / "model",
        tmp_path / "p.txt",
        "--out",
        tmp_path / "out",
        "--device",
        "cpu",
        "--guidance",
        "cfg",
    )
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [clip["made"] for clip in report["clips"]] == [True]
    assert not report["columns"][0]["numbers"]["events"]
