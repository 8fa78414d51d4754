"""The start of a run: one that failed leaves its folder free, and a real run says how to go on."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import attrs
import pytest
import torch
from helpers import tiny_training as tiny
from helpers.command_line import harmony, recipe, trained

from harmony_parts.errors import HarmonyError, RunError
from harmony_parts.models.folder import saved_modules
from harmony_parts.models.snapshot import load_snapshot
from harmony_parts.train.loop import train
from harmony_parts.train.model import build_model

__all__ = ["harmony", "recipe", "trained"]


@pytest.mark.parametrize("fault", ["no data", "empty", "manifest"])
def test_a_failed_start_leaves_the_folder_free(harmony, recipe, tmp_path, fault):
    out, clips = tmp_path / "run", tmp_path / "clips"
    clips.mkdir()
    if fault == "manifest":
        (clips / "manifest.csv").write_text("name\na.mp4\n")
    data = () if fault == "no data" else ("--data", clips)
    text = recipe.read_text().replace('use = "soundstage"\nsize = 8', 'use = "clips"')
    (tmp_path / "clips.toml").write_text(text)
    for _ in range(2):  # the same error again, not that of a folder that holds a run
        result = harmony("train", tmp_path / "clips.toml", *data, "--out", out, "--device", "cpu")
        assert result.exit_code == 1
        assert "already holds a run" not in result.output
        assert "another recipe" not in result.output
    # another recipe, too, and the mended start
    result = harmony("train", recipe, "--set", "train.steps=1", "--out", out, "--device", "cpu")
    assert result.exit_code == 0, result.output


def test_the_error_of_a_run_has_the_command_that_continues_it(harmony, recipe, tmp_path):
    out = tmp_path / "new" / "a run"
    words = ("train", recipe, "--set", "train.batch=1", "--out", out, "--device", "cpu")
    assert harmony(*words).exit_code == 0
    again = harmony(*words)
    assert again.exit_code == 1
    command = re.search(r"continue it with `harmony (.*?)` \(in Python", again.output)
    assert command
    resumed = harmony(*shlex.split(command[1]), "--set", "train.steps=4", "--device", "cpu")
    assert resumed.exit_code == 0, resumed.output
    assert "batch = 1" in (out / "recipe.toml").read_text()
    # the folder needn't be named, for the recipe lies in it; without --resume it isn't meant
    meant = harmony("train", out / "recipe.toml", "--device", "cpu")
    assert meant.exit_code == 2
    assert re.search(r"the recipe of the run .*a run: .* --resume, or .* --out", meant.output)
    more = ("train", out / "recipe.toml", "--resume", "--set", "train.steps=5", "--device", "cpu")
    assert harmony(*more).exit_code == 0
    wrong = harmony("train", recipe, "--resume", "--out", out, "--device", "cpu")
    assert "$.train.batch: was 1, is now 2" in wrong.output
    assert f"`{'harmony ' + command[1]}`" in wrong.output


def test_a_converted_model_is_no_free_folder(harmony, recipe, trained, tmp_path):
    """Its recipe and weights would be overwritten."""
    before = (trained / "model" / "recipe.toml").read_bytes()
    result = harmony("train", recipe, "--out", trained / "model", "--device", "cpu")
    assert result.exit_code == 1
    assert "already holds a run" in result.output
    assert (trained / "model" / "recipe.toml").read_bytes() == before


def test_recordings_are_no_place_for_a_run(tmp_path: Path) -> None:
    (tmp_path / "a.MOV").touch()
    with pytest.raises(RunError, match=r"holds recordings, such as a\.MOV; a run needs a folder"):
        train(tiny.recipe(steps=1), out=tmp_path, progress=False, device="cpu")
    assert [file.name for file in tmp_path.iterdir()] == ["a.MOV"]


def test_a_run_killed_before_its_first_checkpoint_starts_over(tmp_path: Path) -> None:
    out, settings = tmp_path / "run", tiny.recipe(steps=1)
    out.mkdir()
    (out / "recipe.toml").write_text("[train]\nbatch = 77\n")
    (out / "log.jsonl").write_text('{"step": 9}\n')
    train(settings, out=out, progress=False, device="cpu")
    assert '"step": 9' not in (out / "log.jsonl").read_text()
    with pytest.raises(RunError, match="already holds a run"):
        train(settings, out=out, progress=False, device="cpu")
    with pytest.raises(HarmonyError, match="no run to resume"):
        train(settings, out=tmp_path / "none", resume=True, progress=False, device="cpu")


def test_a_checkpoint_alone_gives_its_averaged_weights(harmony, tmp_path: Path) -> None:
    """Those of a run that goes on from it are not the last step's."""
    settings = tiny.recipe(steps=2, checkpoint_every=2, learning_rate=0.1, warmup=0)
    train(settings, out=tmp_path / "first", progress=False, device="cpu")
    checkpoint = tmp_path / "first" / "checkpoints" / "step-0000002"
    saved = load_snapshot(checkpoint).tensors
    parts, report = build_model(settings, torch.device("cpu"), [checkpoint])
    assert report == (f"all weights are those of {checkpoint}",)
    begun = saved_modules(parts).state_dict()
    assert all(torch.equal(begun[name], tensor) for name, tensor in saved["ema"].items())
    assert any(not torch.equal(saved["weights"][name], saved["ema"][name]) for name in saved["ema"])
    words = ("--start", checkpoint, "--out", tmp_path / "second", "--device", "cpu")
    again = tmp_path / "first" / "recipe.toml"
    result = harmony("train", again, *words, "--set", "train.steps=1")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "second" / "start.txt").read_text() == f"{report[0]}\n"


def test_a_start_of_another_shape_names_the_settings(tmp_path: Path) -> None:
    model = train(tiny.recipe(steps=1), out=tmp_path / "run", progress=False, device="cpu")
    recipe = tiny.recipe(steps=1, learning_rate=0.5)
    wider = attrs.evolve(recipe.denoiser.video, width=64)  # type: ignore[attr-defined]
    recipe = attrs.evolve(recipe, denoiser=attrs.evolve(recipe.denoiser, video=wider))
    with pytest.raises(RunError, match=r"\$\.denoiser\.video\.width: was \d+, is now 64") as error:
        build_model(recipe, torch.device("cpu"), [model])
    assert "learning_rate" not in str(error.value)
