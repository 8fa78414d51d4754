"""Arguments that were once taken in silence: drops of no condition, and seeds out of range."""

from __future__ import annotations

import warnings
from typing import Any

import attrs
import pytest
from helpers import tiny_training as tiny

from harmony_parts.assembly.build import build
from harmony_parts.assembly.recipe import Recipe
from harmony_parts.av import Prompt
from harmony_parts.errors import AssemblyError, RequestError
from harmony_parts.generate.pipeline import Pipeline
from harmony_parts.guidance.cfg import CFG
from harmony_parts.guidance.window import Window


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return Pipeline.assemble(tiny.recipe())


def warnings_of(pipeline: Pipeline, guidance: object) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pipeline.generate("a ball", steps=1, guidance=guidance)
    return [str(each.message) for each in caught if "drops" in str(each.message)]


def test_a_drop_that_means_no_condition_is_warned_of_with_the_nearest(pipeline: Pipeline) -> None:
    (line,) = warnings_of(pipeline, CFG(drop=("captoin",)))
    assert line.startswith("CFG drops 'captoin', which no encoder of the model produces")
    assert "did you mean 'caption'?" in line
    wrapped = Window(inner=CFG(drop=("captoin", "sound")), low=0.2)
    assert len(warnings_of(pipeline, wrapped)) == 1
    assert not warnings_of(pipeline, CFG())  # drops "speech" too, by default
    assert not warnings_of(pipeline, CFG(drop=("voice",)))


def test_in_a_recipe_it_is_an_error() -> None:
    def with_drop(*names: str) -> Recipe:
        recipe = tiny.recipe()
        return attrs.evolve(recipe, sample=attrs.evolve(recipe.sample, guidance=CFG(drop=names)))

    with pytest.raises(AssemblyError, match=r"\$\.sample\.guidance: it drops 'captoin'.*'caption'"):
        build(with_drop("captoin"))
    build(with_drop("caption", "speech"))


@pytest.mark.parametrize("seed", [-1, 2**63, 2**64, 1.5, True])
def test_a_seed_out_of_range_is_refused_in_both_places(pipeline: Pipeline, seed: Any) -> None:
    wanted = r"seed must be a whole number from 0 to 2\*\*63 - 1"
    with pytest.raises(RequestError, match=wanted):
        pipeline.generate("a ball", seed=seed)
    with pytest.raises(RequestError, match=wanted):
        pipeline.latents([Prompt("a ball")], seeds=[seed], steps=1)
