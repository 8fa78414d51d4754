"""Where weights are: all on one device, or on the host and on the device only while in use.

A part's weights are those of the torch module that it is, and of its `external_modules`: models
that it uses without owning their weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock, RLock
from typing import Any, Literal, Protocol, runtime_checkable
from weakref import WeakKeyDictionary

import torch
from torch import nn

from harmony_parts.models.layer_stream import LayerStream, weights_of

Offload = Literal["none", "parts", "layers"]
"""`none`: all weights stay on the device. `parts`: an encoder, the denoiser or a codec is there
while it runs. `layers`: encoders and denoiser one layer at a time, with the next one being copied.
"""

_GUARD = Lock()
_LOCKS: WeakKeyDictionary[nn.Module, Any] = WeakKeyDictionary()
"""Locks of modules whose weights are on the device for a time. They aren't attributes of the
modules, since a lock can be neither copied nor saved.
"""


@runtime_checkable
class HasExternalModules(Protocol):
    """A part that uses modules without owning their weights, such as a frozen pretrained model.

    They aren't submodules of the part, so they are neither trained nor saved with it; moving,
    offloading and counting weights include them.
    """

    @property
    def external_modules(self) -> tuple[nn.Module, ...]:
        """The modules, in any order."""


def external_modules(part: object) -> tuple[nn.Module, ...]:
    """The modules that a part uses without owning their weights; empty for most parts."""
    return part.external_modules if isinstance(part, HasExternalModules) else ()


def part_modules(part: Any) -> tuple[nn.Module, ...]:
    """The torch modules that hold a part's weights: itself, if it is one, and its external ones."""
    return (*((part,) if isinstance(part, nn.Module) else ()), *external_modules(part))


def move_weights(part: Any, device: torch.device | str) -> None:
    """Move a part's weights to the device. Raises ValueError if they are on the meta device."""
    for module in part_modules(part):
        if torch.device(device).type != "meta" and any(x.is_meta for x in weights_of([module])):
            name = type(module).__name__
            raise ValueError(
                f'{name} has no weights to move: it was built inside `torch.device("meta")`; build'
                " it outside"
            )
        module.to(device)


@contextmanager
def weights_on_device(part: Any, device: torch.device | str, offload: Offload) -> Iterator[None]:
    """Have a part's weights on the device, as `offload` says, while active; not for training.

    Afterwards they are where they were. Threads take turns, since a weight is in one place at a
    time; the same thread may nest. Raises ValueError if compiled layers are to be moved one by one.
    """
    if offload == "none":
        yield
        return
    with ExitStack() as stack:
        # always in the same order, so that no two threads wait for each other
        for module in sorted(part_modules(part), key=id):
            with _GUARD:
                lock = _LOCKS.setdefault(module, RLock())
            stack.enter_context(lock)
        layers = layers_of(part) if offload == "layers" else ()
        if layers:
            stack.enter_context(LayerStream(layers, torch.device(device)).attached())
        one_by_one = {id(x) for x in weights_of(layers)}
        for x in weights_of(part_modules(part)):
            if id(x) not in one_by_one:
                stack.callback(setattr, x, "data", x.data)
                x.data = x.data.to(device, copy=True)
        yield


def layers_of(part: Any) -> tuple[nn.Module, ...]:
    """The layers of a part's modules, in order: the members of their outermost `ModuleList`s of
    several modules of one class.
    """
    return tuple(layer for module in part_modules(part) for layer in _layers(module))


def resident_bytes(part: Any, offload: Offload) -> int:
    """The maximum of a part's weights, in bytes, that are on the device while it runs."""
    total = _bytes(part_modules(part))
    layers = layers_of(part) if offload == "layers" else ()
    if not layers:
        return total
    return total - _bytes(layers) + 2 * max(_bytes([layer]) for layer in layers)


def _layers(module: nn.Module) -> Iterator[nn.Module]:
    if isinstance(module, nn.ModuleList) and _repeats(module):
        yield from module
    else:
        for child in module.children():
            yield from _layers(child)


def _repeats(modules: nn.ModuleList) -> bool:
    """Whether these are consecutive layers: several, of one class, and each is called."""
    classes = {type(module) for module in modules}
    return (
        len(modules) > 1
        and len(classes) == 1
        and not issubclass(classes.pop(), nn.ModuleList | nn.ModuleDict)
    )


def _bytes(modules: Iterable[nn.Module]) -> int:
    return sum(x.nbytes for x in weights_of(modules))
