"""What can be known of a request before a model is loaded, which may take minutes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harmony_parts.errors import RunError, nearest
from harmony_parts.generate.batch_file import FILES, SOUND_ONLY, SUFFIXES, Request

if TYPE_CHECKING:
    from harmony_parts.assembly.recipe import Recipe


def writable(out: Path, folder: bool) -> None:
    """Known before the work begins: that the file, or the folder of many, can be written. Raises
    BadParameter. Folders are made later.
    """
    if not folder and out.suffix.lower() not in SUFFIXES:
        raise click.BadParameter(
            f"{str(out)!r} must end in one of {', '.join(SUFFIXES)}", param_hint="--out"
        )
    if out.exists() and out.is_dir() != folder:
        raise click.BadParameter(
            f"{str(out)!r} is a {'file; what is written is a folder' if folder else 'folder'}",
            param_hint="--out",
        )
    there = next(
        place
        for place in (out, *out.absolute().parents)
        if place.is_dir() or place != out and place.exists()
    )
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        cause = "can't be written to" if there.is_dir() else "is no folder"
        raise click.BadParameter(
            f"{str(out)!r} can't be written: {str(there)!r} {cause}", param_hint="--out"
        )


def sensible(job: Request, folder: Path, preview: bool) -> None:
    """What can be known before the model is loaded. Raises UsageError, and MediaError for a stream
    that the file can't hold.
    """
    asked, out, where = job.asked, folder / job.name, f"{job.where}: " if job.where else ""
    sound_only = out.suffix.lower() in SOUND_ONLY
    if asked["audio"] and asked["video"]:
        raise click.UsageError(
            f"{where}--audio and --video are both given, which leaves nothing to make; leave"
            " one out"
        )
    if asked["audio"] and sound_only:
        raise click.UsageError(
            f"{where}the sound is given, so what is made is a video: --out must end in .mp4 or"
            f" .mkv, not {out.suffix}"
        )
    if preview and sound_only:
        raise click.UsageError(
            f"{where}--preview draws picture and sound: --out must end in .mp4 or .mkv, not"
            f" {out.suffix}"
        )
    _apart(out, {name: asked[name] for name in FILES})
    if not sound_only and (asked["video"] or asked["audio"]):
        from harmony_parts.media.write import check_copy

        check_copy(out, copy_video_from=asked["video"], copy_sound_from=asked["audio"])


def _apart(out: Path, given: Mapping[str, Path | None]) -> None:
    """No file that is given is written over. Raises UsageError, naming both."""
    for name, file in given.items():
        if file is not None and out.exists() and out.samefile(file):
            raise click.UsageError(
                f"--out {out} is the file of --{name} {file}, which would be lost; write"
                " another one"
            )


def found(model: str) -> Path:
    """The folder, of a name on the Hugging Face Hub the one that it is fetched into, or an error
    that names the nearest one.
    """
    from harmony_parts.models.hub import locate_model

    runs = sorted(str(folder) for folder in Path("runs").glob("*/"))
    near = nearest(model, runs) or nearest(str(Path("runs", model)), runs)
    if Path(model).exists() or not near:  # a misspelt folder isn't asked for on the Hub
        path = locate_model(model)
        if path.exists():
            return path
    from harmony_parts.assembly.read import shipped_recipes

    hint = (
        ""
        if near or model not in shipped_recipes()
        else f"; {model!r} is a recipe: `harmony train {model}` makes a model of it"
    )
    raise RunError(f"there is no model or run folder {model!r}{near}{hint}")


def recipe_of(model: Path) -> Recipe:
    """The recipe of a model that was found. Raises RunError where its folder holds none."""
    from harmony_parts.assembly.read import RECIPE, read_recipe
    from harmony_parts.models.folder import find_model

    return read_recipe(model if model.suffix == ".toml" else find_model(model) / RECIPE)
