"""Adapters in files: names and configuration as peft has them.

A folder has `adapter_model.safetensors`, with `base_model.model.PATH.lora_A.weight` [r, in] and
`.lora_B.weight` [out, r] of every adapted layer, and `adapter_config.json` with rank and alpha.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harmony_parts.assembly.build import Parts
from harmony_parts.errors import RunError, nearest
from harmony_parts.layers.lora import A, B, adapted, attach, merge
from harmony_parts.media.files import replace, replace_text
from harmony_parts.models.folder import saved_modules
from harmony_parts.models.offload import external_modules
from harmony_parts.models.tensor_files import load_tensors, save_tensors

ADAPTERS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
PREFIX = "base_model.model."
EXTERNAL = "external"  # the denoiser's external modules, by number


def adaptable_modules(parts: Parts) -> nn.ModuleDict:
    """The modules that own a model's weights, and the external ones of its denoiser.

    Names begin with `denoiser`, `encoders.NAME`, and `external.0` for the first external module.
    """
    modules = saved_modules(parts)
    if external := external_modules(parts.denoiser):
        modules[EXTERNAL] = nn.ModuleList(external)
    return modules


def is_adapter(name: str) -> bool:
    """Whether a weight of this name belongs to an adapter."""
    return f".{A}." in name or f".{B}." in name


def save_adapters(folder: Path, modules: nn.Module, weights: Mapping[str, Tensor]) -> Path:
    """Write the adapters of `modules` into `folder`, with the values in `weights`.

    Raises RunError if the folder can't be written.
    """
    layers = dict(adapted(modules))
    ranks = {path: getattr(layer, A).out_features for path, layer in layers.items()}
    config = {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": None,
        "inference_mode": True,
        "bias": "none",
        "r": max(ranks.values()),
        "lora_alpha": max(float(x.lora_scale) * ranks[p] for p, x in layers.items()),  # type: ignore[arg-type]
        "target_modules": sorted(layers),
    }
    tensors = {PREFIX + name: value for name, value in weights.items() if is_adapter(name)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        replace(folder / ADAPTERS, partial(save_tensors, tensors=tensors))
        replace_text(folder / CONFIG, json.dumps(config, indent=1))
    except OSError as error:
        raise RunError(f"{folder}: the adapters can't be written: {error}") from error
    return folder


def load_adapters(parts: Parts, place: Path) -> int:
    """Attach the adapters in a folder or a file to a model; returns their number.

    `place` is the folder of a LoRA, a run folder with one, or the file itself with its
    configuration beside it. Without one, alpha is the rank. Raises RunError, with the names, if the
    file isn't readable or has adapters for layers that this model doesn't have.
    """
    file = adapters_file(Path(place))
    tensors = load_tensors(file)
    config = _config(file.with_name(CONFIG))
    layers = {
        path: module
        for path, module in adaptable_modules(parts).named_modules()
        if isinstance(module, nn.Linear)
    }
    pairs = _pairs(file, tensors)
    for path, (a, b) in pairs.items():
        layer = layers.get(path)
        if layer is None:
            raise RunError(
                f"{file}: it adapts {path!r}, which this model doesn't have{nearest(path, layers)};"
                " it is of another model"
            )
        if (a.shape[1], b.shape[0]) != (layer.in_features, layer.out_features):
            raise RunError(
                f"{file}: {path} is adapted from {a.shape[1]} to {b.shape[0]}, and maps"
                f" {layer.in_features} to {layer.out_features} here; it is of another model"
            )
    for path, (a, b) in pairs.items():
        attach(layers[path], len(a), config.get("lora_alpha", len(a)))
        with torch.no_grad():
            getattr(layers[path], A).weight.copy_(a)
            getattr(layers[path], B).weight.copy_(b)
    return len(pairs)


def merge_adapters(parts: Parts) -> int:
    """Add every adapter to the weights of its layer; returns their number."""
    layers = list(adapted(adaptable_modules(parts)))
    for _, layer in layers:
        merge(layer)
    return len(layers)


def adapters_file(place: Path) -> Path:
    """The file of adapters at a place: itself, in a folder, or in a run. Raises RunError."""
    for file in (place, place / ADAPTERS, place / "lora" / ADAPTERS):
        if file.is_file():
            return file
    raise RunError(f"{place}: no adapters: neither a file, nor a folder with {ADAPTERS}")


def _config(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(config, dict) or not float(config.get("lora_alpha", 1)) > 0:
            raise ValueError("lora_alpha must be above 0")
    except (OSError, ValueError, TypeError) as error:
        raise RunError(f"{file}: can't be read as a configuration of adapters: {error}") from error
    return config


def _pairs(file: Path, tensors: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """Path of a layer -> (A, B). Raises RunError if a name has another form, or one is missing."""
    ends = (f".{A}.weight", f".{B}.weight")
    paths: dict[str, None] = {}
    for name in tensors:
        end = next((end for end in ends if name.endswith(end)), None)
        if end is None or not name.startswith(PREFIX):
            raise RunError(
                f"{file}: {name!r} isn't an adapter of a linear layer as peft names it"
                f" ({PREFIX}PATH{ends[0]})"
            )
        paths[name.removeprefix(PREFIX).removesuffix(end)] = None
    pairs = {}
    for path in paths:
        both = [tensors.get(PREFIX + path + end) for end in ends]
        if both[0] is None or both[1] is None or len(both[0]) != both[1].shape[1]:
            raise RunError(f"{file}: the adapter of {path} lacks a factor, or its ranks differ")
        pairs[path] = (both[0], both[1])
    return pairs
