"""The folder of a run: `recipe.toml`, `log.jsonl`, `tensorboard/`, `checkpoints/` and, when it is
done, `model/`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harmony_parts.assembly.read import RECIPE, VERSIONS, write_recipe
from harmony_parts.assembly.recipe import Recipe
from harmony_parts.errors import RunError
from harmony_parts.media.files import replace_text

FREE = ("$.train.steps", "$.train.checkpoint_every", "$.train.log_every")
"""Settings that a resumed run may change: they don't touch what a step computes."""


def find_run(folder: Path, recipe: Recipe, resume: bool) -> bool:
    """Whether there is a run to go on with in the folder. Nothing is written.

    Raises RunError where there is a run and `resume` isn't asked for, none where it is, or one of
    another recipe.
    """
    text, path = write_recipe(recipe), folder / RECIPE
    there = path.is_file()
    if not there and (resume or (folder / "checkpoints").is_dir()):
        raise RunError(f"{folder}: there is no run to resume here: it has no {RECIPE}")
    if there and not resume:
        raise RunError(
            f"{folder}: holds a run already; go on with it by --resume (in Python: resume=True), or"
            " choose another folder"
        )
    if there:
        try:
            before = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(f"{path}: can't be read: {error}") from error
        differs = [
            line for place, line in differences(before, tomllib.loads(text)) if place not in FREE
        ]
        if differs:
            listed = "\n".join(f"  {line}" for line in differs)
            raise RunError(
                f"{folder}: was begun with another recipe; go on with its own, or choose another"
                f" folder. Differences:\n{listed}"
            )
    return there


def open_run(folder: Path, recipe: Recipe) -> None:
    """Make the folder and note the recipe in it. Raises RunError where it can't be written."""
    text = write_recipe(recipe)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        replace_text(folder / RECIPE, text)
    except OSError as error:
        raise RunError(f"{folder}: can't be written: {error}") from error


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(`$.path`, "$.path: was ..., is now ...") of each setting that two recipes don't share.
    Versions of plugins don't count.
    """
    old, new = (
        dict(_leaves({k: v for k, v in recipe.items() if k != VERSIONS}, "$"))
        for recipe in (before, now)
    )
    for place in [*old, *(place for place in new if place not in old)]:
        was, now_is = (
            repr(recipe[place]) if place in recipe else "left out" for recipe in (old, new)
        )
        if was != now_is:
            yield place, f"{place}: was {was}, is now {now_is}"


def _leaves(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _leaves(inner, f"{place}.{name}")
    elif isinstance(value, list) and any(isinstance(inner, Mapping) for inner in value):
        for number, inner in enumerate(value):
            yield from _leaves(inner, f"{place}[{number}]")
    else:
        yield place, value
