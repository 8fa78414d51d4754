"""The plugin in use: the recipe with one model folder, clips, memory, comparison."""

from __future__ import annotations

import json
import tomllib
from typing import ClassVar

import kandinsky6_toys as toys
import pytest
import torch
from kandinsky6_toys import QUICK, SMALL
from published_contract import PublishedContract

from harmony_kandinsky6 import folder
from harmony_kandinsky6.recipe import RECIPE, kandinsky6_recipe
from harmony_parts.assembly.read import read_recipe, write_recipe
from harmony_parts.av import Prompt
from harmony_parts.generate.load import load
from harmony_parts.generate.pipeline import Pipeline
from harmony_parts.models.external_weights import folder_digest


@pytest.fixture(scope="module")
def pipeline(model) -> Pipeline:
    """The shipped recipe with those weights, for small clips."""
    return Pipeline.assemble(kandinsky6_recipe(str(model), [*SMALL, *QUICK]))


class TestKandinsky6(PublishedContract):
    """The tests that all plugins over a published model share."""

    plugin = "kandinsky6"
    parts = ("denoiser kandinsky6", "encoder kandinsky6-text")
    recipe = staticmethod(kandinsky6_recipe)
    folder = folder
    settings = (*SMALL, *QUICK)
    frames, rate, channels = (17, 32, 48), 44100, 1
    text = ("caption", "pooled")
    passes: ClassVar = {"none": 1, "cfg": 2, "cfg + sync-cfg": 4}
    full = (  # the sound of 44.1 kHz
        "denoiser.config={in_audio_dim=40,out_audio_dim=40,visual_token_type_num_embeddings=2}",
    )
    counted: ClassVar = {
        "denoiser": 48_188_676_200,
        "video": 246_478_803,
        "text": 8_292_166_656 + 123_060_480,
    }
    latents = (31, 218)


def test_the_recipe_is_a_model(model, pipeline, tmp_path, monkeypatch):
    """As a file and as a folder without weights; its shift is the scheduler's."""
    recipe = kandinsky6_recipe(str(model), [*SMALL, *QUICK])
    assert recipe.sample.shift.times.shift == 3.0
    assert read_recipe(RECIPE).sample.shift.times.shift == 1.0
    file = tmp_path / "kandinsky6.toml"
    file.write_text(write_recipe(recipe), encoding="utf-8")
    want = pipeline.latents([Prompt("rain")], seeds=[1])
    assert toys.same(load(file).latents([Prompt("rain")], seeds=[1]), want)
    named = read_recipe(RECIPE, [f"published.model={model}", *SMALL, *QUICK])
    assert named == recipe  # the recipe that ships, with the folder named once
    settings = [word for setting in [*SMALL, *QUICK] for word in ("--set", setting)]
    monkeypatch.setattr("sys.argv", ["k6", str(tmp_path / "k6"), "--model", str(model), *settings])
    folder.main()
    card = (tmp_path / "k6" / "README.md").read_text(encoding="utf-8")
    assert f"weights are loaded from {model} (digest {folder_digest(model)})" in card
    assert toys.same(load(tmp_path / "k6").latents([Prompt("rain")], seeds=[1]), want)


def test_one_model_and_revision_for_all_parts(model, tmp_path, monkeypatch):
    """A scheduler that is no flow of one shift is refused, with its name."""
    table = tomllib.loads(write_recipe(kandinsky6_recipe(str(model), revision="abc")))
    for inner in (
        *table["codecs"].values(),
        table["encoders"]["text"],
        table["denoiser"],
        table["sample"]["shift"],
    ):
        assert (inner["model"], inner["revision"]) == (str(model), "abc")
    monkeypatch.setattr("sys.argv", ["k6", str(tmp_path / "k6"), "--model", str(tmp_path)])
    (tmp_path / "scheduler").mkdir()
    for config, message in (
        ({"_class_name": "PiflowScheduler"}, "it is a PiflowScheduler, for which there is no"),
        (
            {"_class_name": "FlowMatchEulerDiscreteScheduler", "use_dynamic_shifting": True},
            "it has use_dynamic_shifting True",
        ),
    ):
        (tmp_path / "scheduler" / "scheduler_config.json").write_text(json.dumps(config))
        with pytest.raises(SystemExit, match=message):
            folder.main()
    assert not (tmp_path / "k6").exists()


def test_the_index_of_the_folder_is_read(model, tmp_path):
    """A component of another name is found by its class; what is absent is listed."""
    index = {
        "_class_name": "Kandinsky6TI2VAPipeline",
        "transformer": ["diffusers", "Kandinsky6Transformer3DModel"],
        "video_vae": ["diffusers", "AutoencoderKLHunyuanVideo"],
        "audio_vae": [None, None],
    }
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    for name, there in (("transformer", "transformer"), ("video_vae", "vae")):
        (tmp_path / name).symlink_to(model / there)
    codecs = kandinsky6_recipe(str(tmp_path), SMALL).codecs
    own = kandinsky6_recipe(str(model), SMALL).codecs
    frames = torch.zeros(1, 5, 32, 48, 3, dtype=torch.uint8)
    made, want = (each.video.build(format=toys.FORMAT).encode(frames) for each in (codecs, own))
    assert torch.equal(made, want)
    with pytest.raises(
        ValueError,
        match=(
            "can't be loaded as MMAudioVAE: it is the folder of a Kandinsky6TI2VAPipeline, whose"
            r" model_index.json has no 'audio_vae'; it has transformer \(Kandinsky6Transformer3D"
            r"Model\), video_vae"
        ),
    ):
        codecs.audio.build(format=toys.FORMAT)
