"""The weights of learned codecs in a model's folder, so that the folder is complete by itself."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import attrs

from harmony_parts.assembly.recipe import Recipe
from harmony_parts.codecs.protocol import TrainableCodecSpec
from harmony_parts.media.files import replace


def copy_codec_files(recipe: Recipe, folder: Path) -> None:
    """Copy the weights of the recipe's learned codecs to codec-video.safetensors and the like.

    Files that are absent here aren't copied. Raises OSError if the folder can't be written.
    """
    for stream, spec in _learned(recipe):
        weights = Path(spec.weights).expanduser()
        if spec.weights and weights.is_file():
            replace(folder / _file(stream), partial(shutil.copyfile, weights))


def with_own_codecs(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe with the codecs' weights in `folder`, where there are any, for those it names."""
    own = {
        stream: attrs.evolve(spec, weights=str(folder / _file(stream)))
        for stream, spec in _learned(recipe)
        if (folder / _file(stream)).is_file()
    }
    return attrs.evolve(recipe, codecs=attrs.evolve(recipe.codecs, **own)) if own else recipe


def _learned(recipe: Recipe) -> Iterator[tuple[str, Any]]:
    for stream in ("video", "audio"):
        spec = getattr(recipe.codecs, stream)
        if isinstance(spec, TrainableCodecSpec):
            yield stream, spec


def _file(stream: str) -> str:
    return f"codec-{stream}.safetensors"
