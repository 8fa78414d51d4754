"""What is checked of a model and an output path before the model is loaded, which takes minutes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from harmony_parts.errors import RequestError, RunError, nearest
from harmony_parts.generate.generated import SUFFIXES

if TYPE_CHECKING:
    from harmony_parts.assembly.recipe import Recipe


def check_writable(out: Path, *, folder: bool) -> None:
    """Check that a clip, or a folder of clips, can be written as `out`. Raises RequestError.

    Folders that don't exist are created later.
    """
    if not folder and out.suffix.lower() not in SUFFIXES:
        raise RequestError(f"{str(out)!r} must end in one of {', '.join(SUFFIXES)}")
    if out.exists() and out.is_dir() != folder:
        kind = "file, and the output is a folder" if folder else "folder, and the output is a file"
        raise RequestError(f"{str(out)!r} is a {kind}")
    parent = next(
        place
        for place in (out, *out.absolute().parents)
        if place.is_dir() or (place != out and place.exists())
    )
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        cause = "isn't writable" if parent.is_dir() else "is no folder"
        raise RequestError(f"{str(out)!r} can't be written: {str(parent)!r} {cause}")


def resolve_model(model: str) -> Path:
    """The folder of a model: one that ships, or downloaded if its name is one on the Hub.

    Raises RunError, with the nearest name in `runs` or of a shipped model, if there is none.
    """
    from harmony_parts.models.hub import locate_model
    from harmony_parts.models.shipped import local_model, shipped_models

    runs = sorted(str(folder) for folder in Path("runs").glob("*/"))
    near = nearest(model, [*shipped_models(), *runs]) or nearest(str(Path("runs", model)), runs)
    if local_model(model).exists() or not near:  # a misspelt name isn't looked up on the Hub
        path = locate_model(model)
        if path.exists():
            return path
    from harmony_parts.assembly.read import shipped_recipes

    hint = (
        ""
        if near or model not in shipped_recipes()
        else f"; {model!r} is a recipe: train a model of it with `harmony train {model}`"
    )
    raise RunError(f"there is no model or run folder {model!r}{near}{hint}")


def recipe_of(model: Path, guidance: str | None = None) -> Recipe:
    """The recipe of a model's folder, or of a recipe file. Raises RunError if it has none.

    `guidance` is the name of one to use if the recipe's can't be read.
    """
    from harmony_parts.models.folder import find_model, recipe_file
    from harmony_parts.models.saved_parts import recipe_with

    file = model if model.suffix == ".toml" else recipe_file(find_model(model))
    return recipe_with(file, guidance)
