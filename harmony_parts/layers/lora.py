"""Low-rank adapters of linear layers (LoRA, arXiv:2106.09685).

y = W x + b + (alpha / r) B A x, with A [r, in] and B [out, r]. B begins at zero, so an adapted
layer begins as it was. An adapter is a submodule of its layer: the layer's own weights keep their
names.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

A, B = "lora_A", "lora_B"  # as peft names them


class Adapter(nn.Linear):
    """A factor, without bias; float32 unless it is converted."""


def attach(layer: nn.Linear, rank: int, alpha: float) -> None:
    """Add an adapter of rank `rank` to a layer, on its device. A is drawn as peft draws it.

    Raises ValueError if it has one.
    """
    if is_adapted(layer):
        raise ValueError("the layer already has an adapter: merge it first")
    place, (width, source) = layer.weight.device, layer.weight.shape
    back = Adapter(rank, width, bias=False, device=place, dtype=torch.float32)
    nn.init.zeros_(back.weight)
    layer.add_module(A, Adapter(source, rank, bias=False, device=place, dtype=torch.float32))
    layer.add_module(B, back)
    layer.lora_scale = alpha / rank  # type: ignore[assignment]
    layer.register_forward_hook(_add)


def is_adapted(module: nn.Module) -> bool:
    """Whether a module is a layer with an adapter."""
    return isinstance(getattr(module, A, None), Adapter)


def adapted(modules: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    """Path and layer of every layer with an adapter."""
    for path, module in modules.named_modules():
        if isinstance(module, nn.Linear) and is_adapted(module):
            yield path, module


def full_weight(layer: nn.Linear) -> Tensor:
    """W + (alpha / r) B A, in the type of W; W itself without an adapter."""
    if not is_adapted(layer):
        return layer.weight
    return (layer.weight.to(torch.float32) + _product(layer)).to(layer.weight.dtype)


@torch.no_grad()
def merge(layer: nn.Linear) -> None:
    """Add the adapter to the layer's weight, and remove it."""
    layer.weight.copy_(full_weight(layer))
    for key, hook in list(layer._forward_hooks.items()):
        if hook is _add:
            del layer._forward_hooks[key]
    del layer.lora_A, layer.lora_B, layer.lora_scale


def _product(layer: nn.Linear) -> Tensor:
    a, b = (getattr(layer, name).weight.to(torch.float32) for name in (A, B))
    return layer.lora_scale * (b @ a)


def _add(layer: nn.Linear, given: tuple[Tensor, ...], output: Tensor) -> Tensor:
    low = getattr(layer, A)
    more = getattr(layer, B)(low(given[0].to(low.weight.dtype)))
    return output + (more * layer.lora_scale).to(output.dtype)
