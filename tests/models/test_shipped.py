"""Models that ship with the library are found by their names, wherever a model is named."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from helpers.shipped_model import NAME, shipped

import harmony_parts as hp
from harmony_parts.assembly.build import build
from harmony_parts.assembly.read import read_recipe
from harmony_parts.cli.completion import models
from harmony_parts.cli.main import cli
from harmony_parts.errors import AssemblyError, RunError
from harmony_parts.generate.checks import resolve_model
from harmony_parts.models.hub import locate_model
from harmony_parts.models.shipped import local_model, shipped_models

__all__ = ["shipped"]


def harmony(*args: object) -> str:
    done = CliRunner().invoke(cli, list(map(str, args)))
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture(autouse=True)
def elsewhere(shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return here


def test_a_model_is_loaded_by_its_name(shipped: Path) -> None:
    assert shipped_models() == {NAME: shipped}
    clip = hp.load(NAME).generate("a ball", steps=1, progress=False)
    assert torch.equal(
        clip.frames, hp.load(shipped).generate("a ball", steps=1, progress=False).frames
    )


def test_a_name_that_is_nearly_that_of_a_model_names_it() -> None:
    with pytest.raises(RunError, match=rf"{NAME}r: no such folder \(did you mean '{NAME}'\?\)$"):
        hp.load(f"{NAME}r")
    with pytest.raises(RunError, match=r"another: no such folder$"):
        hp.load("another")


@pytest.mark.parametrize("inside", ["recipe.toml", "model/recipe.toml"])
def test_a_model_or_run_of_that_name_here_comes_first(elsewhere: Path, inside: str) -> None:
    """An unfinished run too. Other folders of that name don't hide the model."""
    mine = elsewhere / NAME
    mine.mkdir()
    assert local_model(NAME) == locate_model(NAME) == shipped_models()[NAME]
    assert local_model(Path(NAME)) == local_model(f"./{NAME}") == Path(NAME)
    (mine / inside).parent.mkdir(exist_ok=True)
    (mine / inside).write_text("")
    with pytest.warns(UserWarning, match=f"{NAME}: this is the folder of that name here"):
        assert local_model(NAME) == locate_model(NAME) == Path(NAME)
    with (
        pytest.warns(UserWarning, match=NAME),
        pytest.raises(RunError, match="neither a model"),
    ):
        hp.load(NAME)
    with pytest.raises(RunError, match="neither a model"):
        hp.load(f"./{NAME}")


def test_a_misspelt_name_gets_the_nearest() -> None:
    with pytest.raises(RunError, match=f"no model or run folder .* \\(did you mean '{NAME}'"):
        resolve_model(f"{NAME}y")


def test_commands_take_the_name(shipped: Path, elsewhere: Path) -> None:
    """Those with weights: `generate`, `compare`, `bench`, `train --start`; and `explain`."""
    quick = ("--steps", 1, "--seconds", 0.5)
    harmony("generate", NAME, "--prompt", "a ball", *quick, "--out", "x.mp4")
    assert Path("x.mp4").is_file()
    Path("prompts.txt").write_text("a ball\n")
    harmony("compare", NAME, "prompts.txt", *quick, "--guidance", "none", "--out", "compared")
    Path("cases.jsonl").write_text('{"prompt": "a ball", "name": "one"}\n')
    harmony("bench", NAME, "--cases", "cases.jsonl", *quick)
    assert Path("bench", NAME, "clips").is_dir()
    assert "latents" in harmony("explain", NAME)
    assert models(None, None, NAME[:3])[0].value == NAME  # type: ignore[arg-type]


def test_training_begins_with_it(shipped: Path, elsewhere: Path) -> None:
    """Its recipe is copied elsewhere, and names the codec by the model."""
    text = (shipped / "recipe.toml").read_text()
    own = f'weights = "{NAME}/codec-video.safetensors"'
    assert 'weights = "codec-video.safetensors"' in text
    Path("mine.toml").write_text(text.replace('weights = "codec-video.safetensors"', own))
    few = ("train.steps=1", "train.batch=1", "train.prepared=2", "data.size=2")
    sets = [word for change in few for word in ("--set", change)]
    harmony("train", "mine.toml", "--start", NAME, "--out", "run", *sets)
    began = hp.load(NAME).weights.state_dict()
    after = hp.load("run").weights.state_dict()
    near = [torch.allclose(began[name], after[name], atol=1e-2) for name in began]
    assert all(near), "one step from the weights of the model"
    saved = Path("run", "model", "recipe.toml").read_text()
    assert 'weights = "codec-video.safetensors"' in saved, "the new model has its own copy"


def test_a_recipe_names_the_codec_of_a_shipped_model(shipped: Path, elsewhere: Path) -> None:
    """A file of that name here comes first."""
    name = f"{NAME}/codec-video.safetensors"
    recipe = read_recipe(shipped / "recipe.toml", [f"codecs.video.weights={name}"])
    frames = torch.zeros(1, 5, 16, 16, 3, dtype=torch.uint8)
    latents = build(recipe).codecs.video.encode(frames)
    assert torch.equal(latents, hp.load(NAME).parts.codecs.video.encode(frames))
    Path(name).parent.mkdir()
    shutil.copy(shipped / "model.safetensors", name)
    with pytest.raises(AssemblyError, match="those of another codec"):
        build(recipe)
