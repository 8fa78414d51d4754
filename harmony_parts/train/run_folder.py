"""The run folder: `recipe.toml`, `log.jsonl`, `checkpoints/` and `model/` or `lora/`.

`start.txt` says where the initial weights came from, if they weren't fresh.
"""

from __future__ import annotations

import os
import shlex
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harmony_parts.assembly.read import RECIPE, VERSIONS, read_recipe, version_fault, write_recipe
from harmony_parts.assembly.recipe import Recipe
from harmony_parts.data.clip_settings import EXTENSIONS, SOUNDS
from harmony_parts.errors import HarmonyError, RunError
from harmony_parts.media.files import replace_text
from harmony_parts.models.folder import INDEX, WEIGHTS
from harmony_parts.train.checkpoint import list_checkpoints

CHECKPOINTS, MODEL, LORA = "checkpoints", "model", "lora"  # folders in the run folder
ORIGIN = "start.txt"  # where the initial weights came from, a line for each branch and encoder
FREE = (
    "$.train.steps",
    "$.train.checkpoint_every",
    "$.train.log_every",
    "$.train.callbacks",
    "$.train.held_out",
    "$.train.micro_batch",
    "$.train.strategy",
)
"""Settings that may change when a run is resumed: a step computes the same, to rounding."""


def find_run(
    folder: Path, recipe: Recipe, resume: bool, data_root: str | os.PathLike[str] | None = None
) -> bool:
    """Whether the folder holds a run to resume. Nothing is written.

    A folder without a checkpoint or a model is free: what a failed start left there is replaced.
    Raises RunError if it holds a run without `resume`, no run with it, a run of another recipe, or
    recordings.
    """
    path = folder / RECIPE
    exists, worked = path.is_file(), _has_work(folder)
    if not exists and (resume or (folder / CHECKPOINTS).is_dir()):
        raise RunError(f"{folder}: no run to resume: there is no {RECIPE} in it")
    if not exists and (media := _media_in(folder)):
        raise RunError(
            f"{folder}: holds recordings, such as {media}; a run needs a folder of its own: choose"
            " another"
        )
    if worked and not resume:
        raise RunError(
            f"{folder}: already holds a run; continue it with"
            f" `{resume_command(folder, data_root)}` (in Python: resume=True), or choose another"
            " folder"
        )
    if exists and worked:
        _check_recipe(path, recipe, data_root)
    return exists and resume


def resume_command(folder: Path, data_root: str | os.PathLike[str] | None = None) -> str:
    """The command that continues the run in `folder` with its own recipe."""
    words = ["harmony", "train", str(folder / RECIPE)]
    words += ["--data", os.fspath(data_root)] if data_root is not None else []
    return shlex.join([*words, "--out", str(folder), "--resume"])


def _media_in(folder: Path) -> str:
    """The name of a recording in the folder; "" if there is none."""
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    return next((file.name for file in files if file.suffix.lower() in (*EXTENSIONS, *SOUNDS)), "")


def _has_work(folder: Path) -> bool:
    """Whether the folder has a checkpoint or a model, which a new run must not touch."""
    if any(
        (place / name).is_file() for place in (folder, folder / MODEL) for name in (WEIGHTS, INDEX)
    ):
        return (folder / RECIPE).is_file()
    return bool(list_checkpoints(folder / CHECKPOINTS))


def _check_recipe(path: Path, recipe: Recipe, data_root: str | os.PathLike[str] | None) -> None:
    """Raise RunError if the run's recipe differs in a setting that may not change."""
    try:
        before = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: can't be read: {error}") from error
    if fault := version_fault(before):
        raise RunError(f"{path}: {fault}")
    was, now = with_defaults(path, before), tomllib.loads(write_recipe(recipe))
    differs = [line for place, line in differences(was, now) if not place.startswith(FREE)]
    if differs:
        listed = "\n".join(f"  {line}" for line in differs)
        raise RunError(
            f"{path.parent}: the run was begun with another recipe; resume it with its own"
            f" (`{resume_command(path.parent, data_root)}`), or choose another folder."
            f" Differences:\n{listed}"
        )


def with_defaults(path: Path, table: Mapping[str, Any]) -> Mapping[str, Any]:
    """The table of a recipe, with the settings that it was too old to have; as it is if it can't be
    read with the parts that are here.
    """
    try:
        return tomllib.loads(write_recipe(read_recipe(path)))
    except HarmonyError:
        return table


def open_run(folder: Path, recipe: Recipe, origin: Sequence[str] | None = None) -> None:
    """Write the recipe into the folder, which is locked, and the `origin` of the initial weights.

    `None` keeps the origin that is there, of a run that is resumed. Raises RunError if the folder
    can't be written.
    """
    text = write_recipe(recipe)
    try:
        replace_text(folder / RECIPE, text)
        if origin:
            replace_text(folder / ORIGIN, "".join(f"{line}\n" for line in origin))
        elif origin is not None:
            (folder / ORIGIN).unlink(missing_ok=True)
    except OSError as error:
        raise RunError(f"{folder}: can't be written: {error}") from error


def read_origin(folder: Path) -> list[str]:
    """Where the initial weights of a run came from; nothing if they were fresh."""
    file = folder / ORIGIN
    return file.read_text(encoding="utf-8").splitlines() if file.is_file() else []


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(`$.path`, "$.path: was ..., is now ...") of each setting in which two recipes differ.

    Versions of plugins aren't compared.
    """
    old, new = (
        dict(_leaves({k: v for k, v in recipe.items() if k != VERSIONS}, "$"))
        for recipe in (before, now)
    )
    for place in [*old, *(place for place in new if place not in old)]:
        if place in old and place in new and old[place] == new[place]:  # 16 is 16.0
            continue
        was, now_is = (
            repr(recipe[place]) if place in recipe else "left out" for recipe in (old, new)
        )
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
