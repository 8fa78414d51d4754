"""The plugin in use: listing without its libraries, the recipe with one model folder, and clips."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import ltx2_toys as toys
import pytest
import torch
from ltx2_toys import QUICK, SMALL
from published_contract import THIRD_PARTY, listed

from harmony_ltx2 import folder
from harmony_ltx2.recipe import RECIPE, ltx2_recipe
from harmony_parts.assembly.build import build
from harmony_parts.assembly.catalogue import catalogue
from harmony_parts.assembly.read import read_recipe, write_recipe
from harmony_parts.av import Prompt
from harmony_parts.errors import AssemblyError
from harmony_parts.generate.load import load
from harmony_parts.generate.pipeline import Pipeline
from harmony_parts.guidance.none import NoGuidance
from harmony_parts.guidance.sync_cfg import SyncCFG
from harmony_parts.media.clip import Clip


@pytest.fixture(scope="module")
def pipeline(model) -> Pipeline:
    """The shipped recipe with those weights, for small clips."""
    return Pipeline.assemble(ltx2_recipe(str(model), [*SMALL, *QUICK]))


def same(a: Clip, b: Clip) -> bool:
    """Whether two clips have equal frames and sound."""
    return torch.equal(a.frames, b.frames) and torch.equal(a.waveform, b.waveform)


def test_parts_are_listed_and_loaded_without_their_libraries():
    """In a fresh process; only `build` imports diffusers and transformers."""
    wanted = {
        "video_codec": "ltx2-video",
        "encoder": "ltx2-text",
        "denoiser": "ltx2",
        "shift": "ltx2",
    }
    assert sorted(listed("ltx2")) == sorted(
        f"{kind} ltx2/{name} harmony-ltx2" for kind, name in wanted.items()
    )


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


def test_clips_are_generated_and_written(pipeline, tmp_path):
    """Joint, for a given sound, for a given video, from an image."""
    made = pipeline.generate("a ball falls", seed=3)
    assert made.clip.frames.shape == (17, 64, 96, 3)
    assert made.clip.waveform.shape == (2, round(17 / 24 * 24000))
    assert same(made.clip, pipeline.generate("a ball falls", seed=3).clip)
    back = Clip.read(made.save(tmp_path / "clip.mp4"))
    assert back.frames.shape == made.clip.frames.shape
    assert back.waveform.shape[0] == 2
    dubbed = pipeline.generate("a ball falls", video=made, seed=4)
    assert torch.equal(dubbed.clip.frames, made.clip.frames)
    assert not torch.equal(dubbed.clip.waveform, made.clip.waveform)
    driven = pipeline.generate("a ball falls", audio=made, seed=4)
    assert not torch.equal(driven.clip.frames, made.clip.frames)
    shown = pipeline.generate(
        "a ball falls", image=torch.full((64, 96, 3), 200, dtype=torch.uint8), seed=3
    )
    assert not torch.equal(shown.clip.frames, made.clip.frames)


def test_a_third_partys_guidance_runs_unchanged(pipeline, monkeypatch):
    """The example plugin of the library's tests: half of SyncCFG is between none and all of it."""
    monkeypatch.syspath_prepend(THIRD_PARTY)
    from harmony_half.half import Half

    def latents(guidance):
        said = [Prompt(caption="a ball falls")]
        return pipeline.latents(said, seeds=[0], guidance=guidance, steps=1)

    none, all_, half = (
        latents(guidance) for guidance in (NoGuidance(), SyncCFG(), Half(SyncCFG()))
    )
    middle = none.map(lambda a, b: (a + b) / 2, all_)
    assert toys.same(half, middle, 1e-5)
    assert not toys.same(half, none, 1e-3)


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


def test_guidances_are_compared(model, tmp_path, monkeypatch):
    """With the recipe's scales and metrics; cfg + sync-cfg is the recipe's own, without a further
    column."""
    from click.testing import CliRunner

    from harmony_parts.cli.main import cli

    monkeypatch.chdir(tmp_path)
    settings = [argument for setting in [*SMALL, *QUICK] for argument in ("--set", setting)]
    monkeypatch.setattr("sys.argv", ["folder", "ltx2", "--model", str(model), *settings])
    folder.main()
    Path("prompts.txt").write_text("a ball falls\n", encoding="utf-8")
    done = CliRunner().invoke(
        cli,
        ["compare", "ltx2", "prompts.txt", "--out", "compared", "--with-text", "--device", "cpu"],
    )
    assert done.exit_code == 0, done.output
    results = json.loads(Path("compared/results.json").read_text(encoding="utf-8"))
    assert {column["name"]: column["passes"] for column in results["columns"]} == {
        "none": 1,
        "cfg": 2,
        "cfg + modality": 3,
        "cfg + sync-cfg": 4,
    }
    assert "CFG(video=3.0, audio=7.0" in results["columns"][1]["guidance"]
    assert all(
        clip["made"] and clip["numbers"].keys() == {"events", "correlation"}
        for clip in results["clips"]
    )
    made = load("ltx2").generate("a ball falls")
    assert same(
        Clip.read(made.save("again.mp4")), Clip.read(Path("compared", results["clips"][-1]["file"]))
    )


def test_a_saved_model_makes_the_clips_of_its_pipeline(model, tmp_path):
    """It has no weights to save; the same seed gives the same clip."""
    recipe = ltx2_recipe(str(model), [*SMALL, *QUICK])
    file = tmp_path / "tiny.toml"
    file.write_text(write_recipe(recipe), encoding="utf-8")
    made = load(file).latents([Prompt("rain")], seeds=[1])
    again = Pipeline.assemble(recipe).latents([Prompt("rain")], seeds=[1])
    assert all(torch.equal(made[s], again[s]) for s in made)
