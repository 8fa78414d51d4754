"""The parts of a saved model, with their weights."""

from __future__ import annotations

from pathlib import Path

import torch

from harmony_parts.assembly.build import Parts, build
from harmony_parts.assembly.read import read_recipe
from harmony_parts.assembly.recipe import Recipe
from harmony_parts.errors import AssemblyError
from harmony_parts.models.folder import (
    find_model,
    load_weights,
    recipe_file,
    saved_modules,
    weight_files,
)
from harmony_parts.models.hub import locate_model
from harmony_parts.models.saved_tensors import meta_tensors


def saved_recipe(name: str | Path) -> Recipe:
    """The recipe of a saved model. Raises RunError if there is no such model."""
    return recipe_with(recipe_file(find_model(locate_model(name))))


def recipe_with(file: Path, guidance: str | None = None) -> Recipe:
    """The recipe in a file; with the guidance called `guidance` if it can't be read with its own.

    So a model can be used without the plugin of its recipe's guidance. Raises AssemblyError.
    """
    try:
        return read_recipe(file)
    except AssemblyError:
        if guidance is None:
            raise
        return read_recipe(file, [f"sample.guidance={guidance}"])


def load_parts(
    name: str | Path,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    guidance: str | None = None,
) -> tuple[Recipe, Parts]:
    """The recipe and the parts of a model or run folder, a checkpoint, or a model on the Hub.

    Weights are read file by file and stored once, in `dtype` or as `load_weights` has it.
    `guidance` names one that replaces the recipe's if that can't be read. Raises RunError if there
    is no such model, AssemblyError if its recipe can't be built.
    """
    model = find_model(locate_model(name))
    recipe = recipe_with(recipe_file(model), guidance)
    saved = any(
        name.startswith("denoiser.") for file in weight_files(model) for name in meta_tensors(file)
    )
    parts = build(recipe, empty=("denoiser",) if saved else ())
    load_weights(parts, model, device=device, dtype=dtype)
    if any(
        tensor.is_meta
        for tensor in (*saved_modules(parts).parameters(), *saved_modules(parts).buffers())
    ):
        parts = build(recipe)  # a denoiser computes buffers that aren't saved
        load_weights(parts, model)
    return recipe, parts
