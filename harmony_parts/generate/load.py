"""Saved models as pipelines."""

from __future__ import annotations

from pathlib import Path

import torch

from harmony_parts.assembly.build import build
from harmony_parts.assembly.read import read_recipe
from harmony_parts.errors import AssemblyError, RunError
from harmony_parts.generate.pipeline import Pipeline
from harmony_parts.models.folder import find_model, load_weights, saved_modules, weight_files
from harmony_parts.models.hub import locate_model
from harmony_parts.models.offload import Offload
from harmony_parts.models.tensor_files import meta_tensors


def load(
    folder: str | Path,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    *,
    offload: Offload = "none",
) -> Pipeline:
    """The pipeline of a run or model folder, or of a model's repository on the Hugging Face Hub:
    "owner/name" or "owner/name@revision".

    A recipe, "name.toml", is a model too where its parts bring all of their weights from elsewhere.
    Weights are read file by file and held once, in their own type or in `dtype` (torch.bfloat16);
    `offload` as for `Pipeline.to`. Raises RunError where there is no such model, AssemblyError
    where its recipe can't be built.
    """
    if Path(folder).suffix == ".toml":
        return _untrained(Path(folder)).to(device, dtype, offload=offload)
    model = find_model(locate_model(folder))
    recipe = read_recipe(model / "recipe.toml")
    saved = any(
        name.startswith("denoiser.") for file in weight_files(model) for name in meta_tensors(file)
    )
    parts = build(recipe, empty=("denoiser",) if saved else ())
    load_weights(parts, model, device=device if offload == "none" else "cpu", dtype=dtype)
    if any(
        tensor.is_meta
        for tensor in (*saved_modules(parts).parameters(), *saved_modules(parts).buffers())
    ):
        parts = build(recipe)  # a denoiser that keeps numbers which aren't saved makes them anew
        load_weights(parts, model)
    return Pipeline(recipe, parts).to(device, dtype, offload=offload)


def _untrained(file: Path) -> Pipeline:
    """The pipeline of a recipe that has nothing to learn. Raises RunError where it has."""
    recipe = read_recipe(file)
    try:
        # a large model needn't be made to be refused
        parts = build(recipe, empty=("codecs", "encoders", "denoiser"))
    # without its files, a part may be of another form, which the recipe doesn't fit
    except AssemblyError:
        parts = build(recipe)
    if own := saved_modules(parts).state_dict():
        raise RunError(
            f"{file}: the recipe has {len(own)} tensors of its own to be trained, such as"
            f" {next(iter(own))}; make a model of it with `harmony train {file}`"
        )
    return Pipeline.assemble(recipe)
