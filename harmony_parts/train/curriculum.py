"""Recipes that are trained one after the other, each from the weights of the one before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harmony_parts.assembly.recipe import Recipe
from harmony_parts.errors import RunError
from harmony_parts.generate.load import load
from harmony_parts.models.folder import INDEX, WEIGHTS
from harmony_parts.train.checkpoint import list_checkpoints
from harmony_parts.train.loop import train
from harmony_parts.train.run_folder import CHECKPOINTS, LORA, MODEL, find_run


def stage_folder(out: Path, number: int, recipe: Recipe) -> Path:
    """The run folder of a stage; stages are counted from 1."""
    return out / f"{number}-{recipe.name}"


def train_curriculum(
    recipes: Sequence[Recipe],
    *,
    out: Path,
    start: Sequence[str | Path] = (),
    also: Mapping[int, Sequence[str | Path]] | None = None,
    **given: Any,
) -> Path:
    """Train the recipes in order; returns the model of the last one, in `out`/N-NAME/model.

    `start` are the models that the first stage begins from, and every other stage begins from the
    stage before; `also` names further models for a stage, by its number from 1, such as the video
    model that the third stage of the paper joins to its audio. A stage that was stopped continues
    from its last checkpoint, and one that is finished is left as it is. Adapters, in `lora` of
    their stage, are merged there into the model that it began from, which has to be one. `given`
    are further arguments of `train`. Raises RunError without a recipe, and whatever `train` raises.
    """
    if not recipes:
        raise RunError("a curriculum needs at least one recipe")
    more = also or {}
    if unknown := sorted(set(more) - set(range(1, len(recipes) + 1))):
        raise RunError(f"there is no stage {unknown[0]}: the curriculum has {len(recipes)}")
    model = None
    for number, recipe in enumerate(recipes, 1):
        folder = stage_folder(out, number, recipe)
        begin = [*(start if model is None else [model]), *more.get(number, ())]
        model = folder / MODEL
        stopped = bool(list_checkpoints(folder / CHECKPOINTS))
        if stopped and _is_finished(folder, recipe):
            find_run(folder, recipe, True, given.get("data_root"))  # raises if the recipe changed
            continue
        made = train(recipe, out=folder, start=() if stopped else begin, resume=stopped, **given)
        if made.name == LORA:
            _merge(begin, made, model, number)
    assert model is not None
    return model


def _merge(begin: Sequence[str | Path], adapters: Path, model: Path, number: int) -> None:
    """Write the model that a stage's adapters make of the one that it began from."""
    if len(begin) != 1:
        raise RunError(
            f"{adapters}: stage {number} trained adapters, and began from {len(begin)} models"
            " instead of one: join them in a stage before it, whose model these adapters change"
        )
    load(begin[0], lora=adapters).save(model)


def _is_finished(folder: Path, recipe: Recipe) -> bool:
    """Whether the stage has its last checkpoint, and the model that was saved after it."""
    last = list_checkpoints(folder / CHECKPOINTS)[-1]
    saved = any((folder / MODEL / name).is_file() for name in (WEIGHTS, INDEX))
    return saved and last.name == f"step-{recipe.train.steps:07d}"
