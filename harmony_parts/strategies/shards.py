"""Weights that are divided between processes: FSDP2 (torch.distributed.fsdp.fully_shard).

Each weight is a DTensor, divided by its first dimension. On a mesh (replicate, shard) the processes
of a row share a copy, and gradients are summed over its columns too (HSDP).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset
from torch.utils import _pytree as pytree

from harmony_parts.strategies.protocol import SavedTensor


def divide(units: Sequence[nn.Module], device: str, ranks: int, shards: int) -> None:
    """Divide the weights of each unit between `shards` processes; an inner unit comes before."""
    mesh = (
        init_device_mesh(device, (ranks,), mesh_dim_names=("shard",))
        if shards == ranks
        else init_device_mesh(
            device, (ranks // shards, shards), mesh_dim_names=("replicate", "shard")
        )
    )
    for unit in units:
        _divide(unit, mesh)


def _divide(unit: nn.Module, mesh: DeviceMesh) -> None:
    unit.register_forward_hook(lambda module, given, output: _register(output))
    # gathered again in the backward pass, and after a pass without gradients
    fully_shard(unit, mesh=mesh, reshard_after_forward=True)
    assert isinstance(unit, FSDPModule)
    # A loss is a share of the batch's, so gradients are summed, by operations that gloo has too.
    unit.set_gradient_divide_factor(1.0)
    unit.set_force_sum_reduction_for_comms(True)
    unit.register_forward_pre_hook(
        lambda module, given, more: _register((given, more)), prepend=True, with_kwargs=True
    )


def local_norm(gradients: Sequence[DTensor]) -> Tensor:
    """The norm of divided gradients, the same in every process."""
    parts = [gradient.to_local() for gradient in gradients]
    mesh = gradients[0].device_mesh
    square = torch.nn.utils.get_total_norm(parts).square()
    dist.all_reduce(square, group=mesh["shard"].get_group())
    return square.sqrt()


def local_part(saved: SavedTensor, like: DTensor) -> DTensor:
    """The rows of a saved tensor that this process has, as a tensor divided as `like` is."""
    mesh, placements = like.device_mesh, like.placements
    shape, begin = compute_local_shape_and_global_offset(like.shape, mesh, placements)
    local = saved.read(begin, shape).to(like.device)
    return DTensor.from_local(
        local, mesh, placements, run_check=False, shape=like.shape, stride=like.stride()
    )


# --- containers -----------------------------------------------------------------------------------
# FSDP2 finds the tensors that enter and leave a module by torch's pytree, which doesn't look into
# dataclasses and attrs classes: the backward pass would read weights that aren't there.


def _register(value: Any) -> None:
    """Let pytree look into each dataclass and attrs class in `value`. Returns nothing."""
    if isinstance(value, Tensor | str | int | float | None):
        return
    no_fields: tuple[str, ...] = ()
    if isinstance(value, Mapping):
        names, inner = no_fields, list(value.values())
    elif isinstance(value, list | tuple):
        names, inner = no_fields, list(value)
    else:
        names = _fields(type(value))
        inner = [getattr(value, name) for name in names]
    if names and type(value) not in pytree.SUPPORTED_NODES:
        pytree.register_pytree_node(type(value), _flatten, _unflatten(type(value)))
    for each in inner:
        _register(each)


def _fields(container: type) -> tuple[str, ...]:
    if dataclasses.is_dataclass(container):
        return tuple(field.name for field in dataclasses.fields(container))
    if attrs.has(container):
        return tuple(field.name for field in attrs.fields(container))
    return ()


def _flatten(value: Any) -> tuple[list[Any], None]:
    return [getattr(value, name) for name in _fields(type(value))], None


def _unflatten(container: type) -> Any:
    def make(values: Any, context: None) -> Any:
        """Without `__init__`, whose checks and conversions have been."""
        new: Any = object.__new__(container)
        for name, value in zip(_fields(container), values, strict=True):
            object.__setattr__(new, name, value)
        return new

    return make
