"""Load saved models as pipelines."""

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
    tf32: bool = False,
) -> Pipeline:
    """Load the pipeline of a run folder, a model folder, or a model on the Hugging Face Hub.

    Models on the Hub are "owner/name" or "owner/name@revision". A recipe, "name.toml", is a model
    too if its parts bring all their weights. Weights are read file by file and stored once, in
    their own type or in `dtype` (torch.bfloat16); `offload` and `tf32` as for `Pipeline.to`. Raises
    RunError if there is no such model, AssemblyError if its recipe can't be built.
    """
    if Path(folder).suffix == ".toml":
        return _untrained(Path(folder)).to(device, dtype, offload=offload, tf32=tf32)
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
        parts = build(recipe)  # a denoiser computes buffers that aren't saved
        load_weights(parts, model)
    return Pipeline(recipe, parts).to(device, dtype, offload=offload, tf32=tf32)


def _untrained(file: Path) -> Pipeline:
    """The pipeline of a recipe without trainable weights. Raises RunError if it has some."""
    recipe = read_recipe(file)
    try:
        # without weights: a large model is refused before it is allocated
        parts = build(recipe, empty=("codecs", "encoders", "denoiser"))
    # without its files, a part may have another shape, which the recipe doesn't fit
    except AssemblyError:
        parts = build(recipe)
    if own := saved_modules(parts).state_dict():
        raise RunError(
            f"{file}: the recipe has {len(own)} tensors to train, such as {next(iter(own))}; train"
            f" a model of it with `harmony train {file}`"
        )
    return Pipeline.assemble(recipe)
