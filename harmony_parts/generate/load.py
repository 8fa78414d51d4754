"""Load saved models as pipelines."""

from __future__ import annotations

from pathlib import Path

import torch

from harmony_parts.assembly.build import build
from harmony_parts.assembly.read import read_recipe
from harmony_parts.errors import AssemblyError, RunError
from harmony_parts.generate.pipeline import Pipeline
from harmony_parts.models.device import usable_device
from harmony_parts.models.folder import find_model, saved_modules
from harmony_parts.models.hub import locate_model
from harmony_parts.models.known import read_known
from harmony_parts.models.lora import load_adapters
from harmony_parts.models.offload import Offload
from harmony_parts.models.saved_parts import load_parts


def load(
    folder: str | Path,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    *,
    offload: Offload = "none",
    tf32: bool = False,
    guidance: str | None = None,
    lora: str | Path | None = None,
) -> Pipeline:
    """Load the pipeline of a run or model folder, a checkpoint of a run, or a model on the Hub.

    `folder` may be the name of a model that ships, "harmony-tiny". Models on the Hugging Face Hub
    are "owner/name" or "owner/name@revision". A recipe, "name.toml", is a model too if its parts
    bring all their weights. Weights are read file by file and stored once, in `dtype`
    (torch.bfloat16) or their own type, float32 for float16; `offload` and `tf32` as for
    `Pipeline.to`. `guidance` is the name of one to use if the recipe's can't be read, because its
    plugin is absent. `lora` is the file or folder of adapters (`harmony_parts.models.lora`), which
    are attached; the pipeline's `merge_lora` adds them to the weights. Raises RunError if there is
    no such model or device, or the adapters don't fit, AssemblyError if its recipe can't be built.
    """
    device = usable_device(device)  # before any weights are read
    if Path(folder).suffix == ".toml":
        pipeline = _untrained(Path(folder))
    else:
        where = device if offload == "none" else "cpu"
        model = find_model(locate_model(folder))
        pipeline = Pipeline(*load_parts(model, where, dtype, guidance))
        pipeline.known = read_known(model)
    if lora is not None:
        load_adapters(pipeline.parts, Path(lora))
    return pipeline.to(device, dtype, offload=offload, tf32=tf32)


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
