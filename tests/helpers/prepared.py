"""Prepared clips for tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

from harmony_parts.assembly.recipe import Recipe
from harmony_parts.data.soundstage import Soundstage
from harmony_parts.latents.prepare_shards import Preparation, prepare_shards


def prepare(
    recipe: Recipe,
    out: Path,
    *,
    clips: int = 0,
    root: Path | None = None,
    settings: Preparation | None = None,
    workers: int = 0,
    say: Callable[[str], None] = lambda line: None,
    **given: Any,
) -> dict[str, Any]:
    """Prepare `clips` clips of Soundstage, or the recipe's own data; returns the report.

    `given` are settings of the preparation.
    """
    if clips:
        recipe = attrs.evolve(recipe, data=Soundstage(size=clips))
    settings = settings or Preparation(**given)
    return prepare_shards(recipe, out, root=root, settings=settings, workers=workers, say=say)


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Name -> content of the files of a preparation."""
    return {p.name: p.read_bytes() for p in folder.iterdir() if not p.name.startswith(".")}
