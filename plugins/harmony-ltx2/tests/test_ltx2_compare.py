"""The comparison as a user meets it: what it makes, shows and measures, how it goes on, and what it says of mistakes."""

from __future__ import annotations

import json
import re

import pytest
import torch
from ltx2_toys import SMALL

from harmony_ltx2 import compare
from harmony_ltx2.columns import guidances
from harmony_ltx2.recipe import ltx2_recipe
from harmony_parts.assemble import read_recipe
from harmony_parts.media import Clip
from harmony_parts.metrics.compare import compare as compare_clips
from harmony_parts.pipeline import Pipeline


@pytest.fixture
def run(model, tmp_path, monkeypatch):
    """`run(*words)`: the command, in a folder with a file of prompts, on the tiny model, for two steps."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompts.txt").write_text("# two\na ball falls\n\nrain & <thunder>\na ball falls\n", encoding="utf-8")
    (tmp_path / "one.txt").write_text("a ball falls\n", encoding="utf-8")
    settings = [word for setting in SMALL for word in ("--set", setting)]

    def main(*words, prompts="prompts.txt"):
        usual = ["--out", "out", "--model", str(model), "--steps", "2", "--device", "cpu", *settings]
        monkeypatch.setattr("sys.argv", ["compare", prompts, *usual, *words])
        compare.main()

    return main


def results():
    return json.loads(open("out/results.json", encoding="utf-8").read())


def test_guidances_are_shown_side_by_side(run, model, tmp_path, capsys):
    """A clip for each prompt and guidance, each what the pipeline makes of it; a page that shows them, and needs nothing else."""
    run("--with-text", "--seed", "5")
    names = list(guidances(with_text=True))
    assert names == ["none", "cfg", "cfg + modality", "cfg + sync-cfg"]
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    files = re.findall(r'src="([^"]+)"', page)
    assert files == [f"{row:03d}-{name.replace(' ', '')}.mp4" for row in (1, 2) for name in names]
    clips = [Clip.read(tmp_path / "out" / file) for file in files]
    assert {tuple(clip.frames.shape) for clip in clips} == {(17, 64, 96, 3)}
    assert not any(torch.equal(clips[0].frames, clip.frames) for clip in clips[1:])
    recipe = read_recipe("out/recipe.toml")
    assert (recipe.sample.steps, recipe.sample.shift.steps) == (2, 2)  # or the last step wouldn't begin at the terminal
    made = Pipeline.assemble(recipe).generate("rain & <thunder>", seed=5, guidance=guidances(with_text=True)["cfg + sync-cfg"])
    again = Clip.read(made.save(tmp_path / "again.mp4"))
    assert torch.equal(again.frames, clips[-1].frames)
    assert torch.equal(again.waveform, clips[-1].waveform)
    assert not re.search("https?:|<link|@import", page)
    for said in (
        "rain &amp; &lt;thunder&gt;",
        "SyncCFG(video=3.0, audio=2.0",
        "seed 5",
        "2 steps, Euler()",
        "torch 2.",
        str(model),
        "4 passes",
    ):
        assert said in page
    told = capsys.readouterr()
    assert re.search(r"001-cfg\.mp4: .* s \(2 of 8; about .* left\)", told.out)
    assert told.out.rstrip().endswith("index.html")


def test_every_clip_is_measured(run, tmp_path):
    """By the recipe's metrics, alone and over the prompts, with what chance gives; what the page says is what the JSON says."""
    run("--set", "metrics.0.onset=0.5", "--set", "metrics.0.flash=0.0001", "--set", "metrics.0.contrast=0")
    told, metrics = results(), read_recipe("out/recipe.toml").metrics
    assert [type(metric).__name__ for metric in metrics] == ["Events", "Correlation"]
    for column in told["columns"]:
        of = [clip for clip in told["clips"] if clip["column"] == column["name"]]
        clips = [Clip.read(tmp_path / "out" / clip["file"]) for clip in of]
        for metric, name in zip(metrics, ("harmony/events", "harmony/correlation"), strict=True):
            assert column["numbers"][name] == compare_clips(metric, clips)["numbers"]
            for clip, entry in zip(clips, of, strict=True):
                found = metric.analyse(clip)
                assert entry["numbers"][name] == metric.score(found.video, found.audio)
    assert all(clip["seconds"] > 0 for clip in told["clips"])
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    shown = f"{told['columns'][0]['numbers']['harmony/correlation']['correlation']['paired']:.2f} <small>("
    for said in ("events seen", "events matched", "correlation of motion and sound, at its peak", shown):
        assert said in page


def test_an_interrupted_comparison_goes_on(run, tmp_path, monkeypatch, capsys):
    """Clips that are there stay; one that was never finished is made anew; where all are there, no model is loaded."""
    generate, calls = Pipeline.generate, []

    def interrupted(self, *args, **settings):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return generate(self, *args, **settings)

    monkeypatch.setattr(Pipeline, "generate", interrupted)
    with pytest.raises(SystemExit) as ended:
        run(prompts="one.txt")
    assert ended.value.code == 130
    assert "stopped; the same command goes on from there" in capsys.readouterr().err
    assert (tmp_path / "out" / "index.html").read_text(encoding="utf-8").count("not made yet") == 2
    monkeypatch.setattr(Pipeline, "generate", generate)
    (tmp_path / "out" / "001-cfg.mp4.json").unlink()  # as if it had been stopped between the clip and its note
    before = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "out").glob("*.mp4")}
    run(prompts="one.txt")
    after = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "out").glob("*.mp4")}
    assert len(after) == 4
    assert {name for name in before if before[name] == after[name]} == {"001-none.mp4"}
    assert "1 of 4 clips are there already, in out" in capsys.readouterr().out
    first = results()
    monkeypatch.setattr(Pipeline, "assemble", lambda *args: pytest.fail("a model was loaded"))
    run(prompts="one.txt")
    assert results() == first
    run("--set", "metrics.0.tolerance=0.2", prompts="one.txt")  # measured anew, not made
    assert capsys.readouterr().out.count("4 of 4 clips are there already") == 2


def test_clips_of_another_comparison_are_left_alone(run, tmp_path):
    """They may have taken hours."""
    run(prompts="one.txt")
    before = (tmp_path / "out" / "001-none.mp4").read_bytes()
    with pytest.raises(SystemExit, match=r"001-none\.mp4: is there, and differs in its seed from .*; choose another --out, or remove out"):
        run("--seed", "1", prompts="one.txt")
    (tmp_path / "other.txt").write_text("a door\n", encoding="utf-8")
    with pytest.raises(SystemExit, match="differs in its prompt from"):
        run(prompts="other.txt")
    assert (tmp_path / "out" / "001-none.mp4").read_bytes() == before


def test_a_clip_that_fails_stops_no_other(run, tmp_path, capsys):
    """Here a scale beyond float32; the page says why, and guidances can be changed and added by name."""
    with pytest.raises(SystemExit, match="1 clip couldn't be made; the same command tries again"):
        run("--guidance", "wild.use=cfg", "--guidance", "wild.video=1e38", "--guidance", "sync-cfg.audio=4", prompts="one.txt")
    assert len(list((tmp_path / "out").glob("*.mp4"))) == 4
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "SyncCFG(video=3.0, audio=4.0" in page
    assert page.count("001-wild.mp4 can&#x27;t be made: ") == 1
    assert "returned NaN or infinity for video" in page
    assert "001-wild.mp4 can't be made" in capsys.readouterr().out


def test_mistakes_are_told_before_anything_is_loaded(run, tmp_path, monkeypatch, capsys):
    """In a line, with what to do."""
    monkeypatch.setattr(Pipeline, "assemble", lambda *args: pytest.fail("a model was loaded"))
    (tmp_path / "empty.txt").write_text("# none\n", encoding="utf-8")
    (tmp_path / "latin.txt").write_bytes("Gewölbe".encode("latin-1"))
    for prompts, cause in (
        ("none.txt", r"none\.txt: the prompts can't be read: No such file"),
        ("empty.txt", "there is no prompt in it; write one on each line"),
        ("latin.txt", "is no text in UTF-8"),
        (".", "the prompts can't be read: Is a directory"),
    ):
        with pytest.raises(SystemExit, match=f"error: .*{cause}"):
            run(prompts=prompts)
    for words, cause in (
        (("--out", "prompts.txt"), "--out prompts.txt: prompts.txt is no folder"),
        (("--device", "cuda:99"), "--device cuda:99 can't be used"),
        (("--set", "sample.step=3"), r"did you mean 'steps'"),
        (("--guidance", "mine.use=cfgg"), r"the guidance mine.*did you mean 'cfg'"),
        (("--guidance", "sync-cfg.vidoe=2"), r"did you mean 'video'"),
        (("--guidance", "sync=2"), "the guidance sync"),
        (("--guidance", "/up.use=cfg"), r"can't name a guidance's clips"),
    ):
        with pytest.raises(SystemExit, match=f"(?s)error: .*{cause}"):
            run(*words)
    for words, cause in (
        (("--steps", "0"), "0 is below 1"),
        (("--seconds", "inf"), "inf is no length"),
        (("--seed", "-1"), "isn't between"),
    ):
        capsys.readouterr()
        with pytest.raises(SystemExit):
            run(*words)
        assert cause in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_text_is_added_where_there_is_none():
    """Not to a guidance that goes by text itself."""
    assert list(guidances()) == ["none", "cfg", "modality", "sync-cfg"]
    added = guidances(["mine.use=cfg-rescale", "skip.use=skip-layer", "skip.drop=[]"], with_text=True)
    assert list(added) == ["none", "cfg", "mine", "cfg + modality", "cfg + sync-cfg", "cfg + skip"]


def test_the_length_of_a_clip_is_an_option(model):
    """And the recipe's, so that notes and page say it."""
    given = compare._parser().parse_args(["prompts.txt", "--out", "out", "--model", str(model), "--seconds", "0.4"])
    assert compare._recipe(given) == ltx2_recipe(str(model), ["format.seconds=0.4"])
