"""The plugin in use: listing without its libraries, the recipe with one model folder, and clips."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from ltx2_toys import QUICK, SMALL
from published_contract import PublishedContract

from harmony_ltx2 import folder
from harmony_ltx2.recipe import RECIPE, ltx2_recipe
from harmony_parts.assembly.build import build
from harmony_parts.assembly.catalogue import catalogue
from harmony_parts.assembly.read import read_recipe, write_recipe
from harmony_parts.av import Prompt
from harmony_parts.errors import AssemblyError
from harmony_parts.generate.load import load
from harmony_parts.generate.pipeline import Pipeline
from harmony_parts.media.clip import Clip


@pytest.fixture(scope="module")
def pipeline(model) -> Pipeline:
    """The shipped recipe with those weights, for small clips."""
    return Pipeline.assemble(ltx2_recipe(str(model), [*SMALL, *QUICK]))


def same(a: Clip, b: Clip) -> bool:
    """Whether two clips have equal frames and sound."""
    return torch.equal(a.frames, b.frames) and torch.equal(a.waveform, b.waveform)


class TestLTX2(PublishedContract):
    """The tests that all plugins over a published model share."""

    plugin = "ltx2"
    parts = ("video_codec ltx2-video", "encoder ltx2-text", "denoiser ltx2", "shift ltx2")
    recipe = staticmethod(ltx2_recipe)
    folder = folder
    settings = (*SMALL, *QUICK)
    frames, rate = (17, 64, 96), 24000
    text = ("caption", "sound")
    passes: ClassVar = {"none": 1, "cfg": 2, "cfg + modality": 3, "cfg + sync-cfg": 4}
    counted: ClassVar = {"denoiser": 18_876_174_592}
    latents = (16, 127)


@pytest.mark.parametrize(
    ("kind", "name"),
    [("video_codec", "ltx2-video"), ("encoder", "ltx2-text"), ("denoiser", "ltx2")],
)
def test_parts_name_the_licence_of_their_weights(kind, name):
    """In their docstring and in the README."""
    licence = "LTX-2 Community License"
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    assert licence in " ".join(catalogue().load(kind, f"ltx2/{name}").__doc__.split())
    assert re.search(rf"`{name}`.*{re.escape(licence)}", readme)


def test_the_recipe_assembles_at_full_size():
    """On the meta device, without files; written and read again, it is equal."""
    recipe = ltx2_recipe()
    parts = build(recipe, empty=("codecs", "encoders", "denoiser"))
    assert sum(weight.numel() for weight in parts.denoiser.frozen.parameters()) == 18_876_174_592
    t_v = parts.codecs["video"].latents(recipe.format.frames)
    h, w = parts.codecs["video"].grid
    assert (recipe.format.frames, t_v * h * w) == (121, recipe.sample.shift.tokens)
    assert parts.denoiser.accepts.keys() == {"caption", "sound", "image"}
    assert read_recipe(tomllib.loads(write_recipe(recipe))) == recipe


def test_a_folders_configuration_is_read_without_its_weights(model, pipeline):
    """The denoiser is on the meta device, as before saved weights are loaded into it."""
    recipe = pipeline.recipe
    with torch.device("meta"):
        empty = recipe.denoiser.build(codecs=pipeline.codecs, encoders=pipeline.parts.encoders)
    shapes = [weight.shape for weight in pipeline.parts.denoiser.frozen.parameters()]
    assert [(weight.shape, weight.device.type) for weight in empty.frozen.parameters()] == [
        (shape, "meta") for shape in shapes
    ]


def test_one_model_is_used_by_all_parts(model):
    """A folder, or a name on the Hub; errors name the place in the recipe."""
    table = tomllib.loads(write_recipe(ltx2_recipe("someone/else")))
    for part in (*table["codecs"].values(), table["encoders"]["text"], table["denoiser"]):
        assert part["model"] == "someone/else"
    with pytest.raises(
        AssemblyError, match=r"\$.codecs.video: model './nothing' .* there is no folder './nothing'"
    ):
        build(ltx2_recipe("./nothing"))
    assert ltx2_recipe() == read_recipe(RECIPE)


def test_a_folder_without_weights_is_a_model(model, pipeline, tmp_path, monkeypatch):
    """It is written without loading anything; `harmony generate` loads the recipe's weights."""
    from click.testing import CliRunner

    from harmony_parts.cli.main import cli

    place = tmp_path / "model"
    settings = [argument for setting in [*SMALL, *QUICK] for argument in ("--set", setting)]
    monkeypatch.setattr("sys.argv", ["folder", str(place), "--model", str(model), *settings])
    folder.main()
    assert (place / "model.safetensors").stat().st_size < 1000
    loaded = load(place)
    assert same(loaded.generate("a ball falls").clip, pipeline.generate("a ball falls").clip)
    out = tmp_path / "clip.mp4"
    done = CliRunner().invoke(
        cli,
        ["generate", str(place), "--prompt", "a ball falls", "--device", "cpu", "--out", str(out)],
    )
    assert done.exit_code == 0, done.output
    assert Clip.read(out).frames.shape == (17, 64, 96, 3)
    monkeypatch.setattr("sys.argv", ["folder", str(place), "--set", "nonsense"])
    with pytest.raises(SystemExit, match="not an override"):
        folder.main()


def test_a_saved_model_makes_the_clips_of_its_pipeline(model, tmp_path):
    """It has no weights to save; the same seed gives the same clip."""
    recipe = ltx2_recipe(str(model), [*SMALL, *QUICK])
    file = tmp_path / "tiny.toml"
    file.write_text(write_recipe(recipe), encoding="utf-8")
    made = load(file).latents([Prompt("rain")], seeds=[1])
    again = Pipeline.assemble(recipe).latents([Prompt("rain")], seeds=[1])
    assert all(torch.equal(made[s], again[s]) for s in made)
