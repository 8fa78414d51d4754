"""The plugin in use: the recipe with one model folder, clips, memory, comparison."""

from __future__ import annotations

import shutil
from typing import ClassVar

import minimax_h3_toys as toys
import pytest
from minimax_h3_toys import QUICK, SMALL
from published_contract import PublishedContract

from harmony_diffusers.scheduler import SavedTimes
from harmony_minimax_h3 import folder
from harmony_minimax_h3.recipe import RECIPE, minimax_h3_recipe
from harmony_parts.assembly.read import write_recipe
from harmony_parts.av import Prompt
from harmony_parts.generate.load import load
from harmony_parts.generate.pipeline import Pipeline
from harmony_parts.generate.provenance import provenance_of
from harmony_parts.generate.request import Request
from harmony_parts.models.external_weights import folder_digest


@pytest.fixture(scope="module")
def pipeline(model) -> Pipeline:
    """The shipped recipe with those weights, for small clips."""
    return Pipeline.assemble(minimax_h3_recipe(str(model), [*SMALL, *QUICK]))


class TestMiniMaxH3(PublishedContract):
    """The tests that all plugins over a published model share."""

    plugin = "minimax-h3"
    parts = (
        "audio_codec minimax-h3-audio",
        "denoiser minimax-h3",
        "encoder minimax-h3-text",
        "video_codec minimax-h3-video",
    )
    recipe = staticmethod(minimax_h3_recipe)
    folder = folder
    settings = (*SMALL, *QUICK)
    frames, rate = (22, 32, 64), 32000
    passes: ClassVar = {"none": 1, "cfg": 2, "sync-cfg": 3}
    compare = ()  # its text guidance is distilled
    counted: ClassVar = {
        "denoiser": 33_122_992_896,
        "video": 2_603_868_984,
        "audio": 151_321_489,
        "text": 25_157_829_120,
    }
    latents = (37, 207)


def test_the_recipe_with_the_folder_named_once_is_a_model(model, pipeline, tmp_path):
    """Written by hand: its table [published] gives all parts their weights, and the times."""
    text = RECIPE.read_text(encoding="utf-8")
    named = text.replace("# [published]", "[published]").replace(
        '# model = "FOLDER"', f'model = "{model}"'
    )
    assert named != text
    recipe = minimax_h3_recipe(str(model), [*SMALL, *QUICK])
    shifts = recipe.sample.shift
    assert shifts.video.times == SavedTimes(12.0, "plain")
    assert shifts.audio.times == SavedTimes(3.0, "plain")
    file = tmp_path / "minimax-h3.toml"
    file.write_text(named, encoding="utf-8")
    from harmony_parts.assembly.read import read_recipe

    assert read_recipe(file, [*SMALL, *QUICK]) == recipe
    file.write_text(write_recipe(recipe), encoding="utf-8")
    want = pipeline.latents([Prompt("rain")], seeds=[1])
    assert toys.same(load(file).latents([Prompt("rain")], seeds=[1]), want)


def test_clips_note_the_digest_of_the_folder(model, tmp_path):
    """A copy of the folder elsewhere is the same model, a changed file another one."""
    copy = tmp_path / model.name
    shutil.copytree(model, copy)
    notes = [
        provenance_of(minimax_h3_recipe(str(place), SMALL), "", Request(prompt="rain"))["model"]
        for place in (model, copy)
    ]
    digest = folder_digest(model)
    assert notes[0]["published"] == [{"model": model.name, "digest": digest}]
    assert notes[1] == notes[0]
    (copy / "scheduler" / "scheduler_config.json").write_text("{}", encoding="utf-8")
    changed = provenance_of(minimax_h3_recipe(str(copy), SMALL), "", Request())["model"]
    assert changed["published"] != notes[0]["published"]
    assert changed["recipe"] != notes[0]["recipe"]
