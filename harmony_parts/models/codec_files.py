"""The weights of learned codecs in a model's folder, so that the folder is complete by itself."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import attrs

from harmony_parts.assembly.read import codec_file
from harmony_parts.assembly.recipe import Recipe
from harmony_parts.codecs.protocol import TrainableCodecSpec
from harmony_parts.codecs.shipped import weights_file
from harmony_parts.media.files import replace


def copy_codec_files(recipe: Recipe, folder: Path) -> Recipe:
    """Copy the weights of the recipe's learned codecs to codec-video.safetensors and the like.

    Returns the recipe with these names in place of paths, so that the folder can be moved. Files
    that are absent here aren't copied. Raises OSError if the folder can't be written.
    """

    def copied(stream: str, weights: Path) -> str:
        replace(folder / codec_file(stream), partial(shutil.copyfile, weights))
        return codec_file(stream)

    return _with_weights(recipe, copied)


def without_paths(recipe: Recipe) -> Recipe:
    """The recipe with the digest of each codec's weights in place of their path.

    Equal for copies of a model; for comparing, not for building.
    """

    def digest(stream: str, weights: Path) -> str:
        with weights.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    return _with_weights(recipe, digest)


def _with_weights(recipe: Recipe, named: Callable[[str, Path], str]) -> Recipe:
    """The recipe with `named(stream, file)` as the weights of each learned codec that has some."""
    changed = {
        stream: attrs.evolve(spec, weights=named(stream, file))
        for stream, spec in _learned(recipe)
        if spec.weights and (file := weights_file(spec.weights)).is_file()
    }
    return attrs.evolve(recipe, codecs=attrs.evolve(recipe.codecs, **changed))


def _learned(recipe: Recipe) -> Iterator[tuple[str, Any]]:
    for stream in ("video", "audio"):
        spec = getattr(recipe.codecs, stream)
        if isinstance(spec, TrainableCodecSpec):
            yield stream, spec
