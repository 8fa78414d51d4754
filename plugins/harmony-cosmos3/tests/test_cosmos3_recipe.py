"""The plugin in use: the recipe with one model folder, clips, memory, comparison."""

from __future__ import annotations

from typing import ClassVar

import cosmos3_toys as toys
import pytest
from cosmos3_toys import QUICK, SMALL
from published_contract import PublishedContract

from harmony_cosmos3 import folder
from harmony_cosmos3.recipe import RECIPE, cosmos3_recipe
from harmony_diffusers.scheduler import SavedTimes
from harmony_parts.assembly.read import write_recipe
from harmony_parts.av import Prompt
from harmony_parts.generate.load import load
from harmony_parts.generate.pipeline import Pipeline


@pytest.fixture(scope="module")
def pipeline(model) -> Pipeline:
    """The shipped recipe with those weights, for small clips."""
    return Pipeline.assemble(cosmos3_recipe(str(model), [*SMALL, *QUICK]))


class TestCosmos3(PublishedContract):
    """The tests that all plugins over a published model share."""

    plugin = "cosmos3"
    parts = ("audio_codec cosmos3-audio", "denoiser cosmos3", "encoder cosmos3-text")
    recipe = staticmethod(cosmos3_recipe)
    folder = folder
    settings = (*SMALL, *QUICK)
    frames, rate = (17, 32, 48), 48000
    passes: ClassVar = {"none": 1, "cfg": 2, "cfg + sync-cfg": 4}
    counted: ClassVar = {"denoiser": 15_156_754_688, "audio": 496_287_362}
    latents = (31, 127)


def test_the_recipe_with_the_folder_named_once_is_a_model(model, pipeline, tmp_path):
    """Written by hand: its table [published] gives all parts their weights, and the times."""
    text = RECIPE.read_text(encoding="utf-8")
    named = text.replace("# [published]", "[published]").replace(
        '# model = "FOLDER"', f'model = "{model}"'
    )
    assert named != text
    recipe = cosmos3_recipe(str(model), [*SMALL, *QUICK])
    assert recipe.sample.shift.times == SavedTimes(5.0, "unipc")
    file = tmp_path / "cosmos3.toml"
    file.write_text(named, encoding="utf-8")
    from harmony_parts.assembly.read import read_recipe

    assert read_recipe(file, [*SMALL, *QUICK]) == recipe
    file.write_text(write_recipe(recipe), encoding="utf-8")
    want = pipeline.latents([Prompt("rain")], seeds=[1])
    assert toys.same(load(file).latents([Prompt("rain")], seeds=[1]), want)
