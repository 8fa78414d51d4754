"""Where weights are: all on one device, or in the host's memory and on the device only while they
are at work.

A part's weights are those of the torch module that it is, and of its `external_modules`: models
that it uses without owning their weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from threading import Lock, RLock
from typing import Any, Literal, Protocol, runtime_checkable
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

Offload = Literal["none", "parts", "layers"]
"""`none`: all weights are on the device. `parts`: those of an encoder, the denoiser or a codec,
while it works. `layers`: of encoders and denoiser one layer at a time, and the next one on its way.
"""

ALIGNED = 256  # bytes; where tensors begin, as CUDA's allocator has it

_GUARD = Lock()
_LOCKS: WeakKeyDictionary[nn.Module, Any] = WeakKeyDictionary()
"""Of modules whose weights are visiting. Not kept in the modules, for a lock can be neither copied
nor saved.
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
    """Put a part's weights on the device. Raises ValueError where there are none to move: they were
    made on the meta device.
    """
    for module in part_modules(part):
        if torch.device(device).type != "meta" and any(x.is_meta for x in _tensors(module)):
            name = type(module).__name__
            raise ValueError(
                f'{name} has no weights to move: it was built inside `torch.device("meta")`; build'
                " it again outside"
            )
        module.to(device)


@contextmanager
def weights_on_device(part: Any, device: torch.device | str, offload: Offload) -> Iterator[None]:
    """While it is entered, a part's weights are on the device as `offload` says; then they are as
    they were. Not for training.

    Threads take turns: a weight is in one place at a time. Within a visit the same thread may begin
    another.

    Raises ValueError where the layers of a compiled model are to be moved one by one.
    """
    if offload == "none":
        yield
        return
    with ExitStack() as stack:
        # in one order, so that no two threads wait for each other
        for module in sorted(part_modules(part), key=id):
            with _GUARD:
                lock = _LOCKS.setdefault(module, RLock())
            stack.enter_context(lock)
        layers = layers_of(part) if offload == "layers" else ()
        if layers:
            stack.enter_context(_Stream(layers, torch.device(device)).attached())
        one_by_one = {id(x) for layer in layers for x in _tensors(layer)}
        for x in _unique(x for module in part_modules(part) for x in _tensors(module)):
            if id(x) not in one_by_one:
                stack.callback(setattr, x, "data", x.data)
                x.data = x.data.to(device, copy=True)
        yield


def layers_of(part: Any) -> tuple[nn.Module, ...]:
    """The layers of a part's models, in order: what is in their outermost lists of several modules
    of one class.
    """
    return tuple(layer for module in part_modules(part) for layer in _layers(module))


def resident_bytes(part: Any, offload: Offload) -> int:
    """Bytes of a part's weights that are on the device at most while it works."""
    all_of_it = _bytes(x for module in part_modules(part) for x in _tensors(module))
    layers = layers_of(part) if offload == "layers" else ()
    if not layers:
        return all_of_it
    each = [_bytes(_tensors(layer)) for layer in layers]
    return all_of_it - _bytes(x for layer in layers for x in _tensors(layer)) + 2 * max(each)


def _layers(module: nn.Module) -> Iterator[nn.Module]:
    if isinstance(module, nn.ModuleList) and _repeats(module):
        yield from module
    else:
        for child in module.children():
            yield from _layers(child)


def _repeats(modules: nn.ModuleList) -> bool:
    """Whether it is one layer after the other: several, and each a module that is called."""
    classes = {type(module) for module in modules}
    return (
        len(modules) > 1
        and len(classes) == 1
        and not issubclass(classes.pop(), nn.ModuleList | nn.ModuleDict)
    )


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    yield from module.parameters()
    yield from module.buffers()


def _unique(tensors: Iterator[Tensor]) -> list[Tensor]:
    return list({id(x): x for x in tensors}.values())


def _bytes(tensors: Iterator[Tensor]) -> int:
    return sum(x.nbytes for x in _unique(tensors))


# --- layer by layer -------------------------------------------------------------------------------


class _Slot:
    """Room for the weights of one layer on the device; on CUDA also page-locked room on the host,
    from which the device copies by itself.

    `copied`: the room is filled; `used`: whoever computed with it is done.
    """

    def __init__(self, size: int, device: torch.device) -> None:
        self.device, self.cuda = device, device.type == "cuda"
        self.room = torch.empty(size, dtype=torch.uint8, device=device)
        if self.cuda:
            self.staging = torch.empty(size, dtype=torch.uint8, pin_memory=True)
            self.copied, self.used = torch.cuda.Event(), torch.cuda.Event()
            self.end()  # what had this memory before may still compute

    def fill(self, host: Sequence[Tensor], stream: Any) -> None:
        """Copy these tensors into the room, one after the other; on CUDA on a stream of its own,
        while the device computes.
        """
        if not self.cuda:
            for view, x in zip(views(self.room, host), host, strict=True):
                view.copy_(x)
            return
        self.copied.synchronize()  # what was here before has left the staging room
        for view, x in zip(views(self.staging, host), host, strict=True):
            view.copy_(x)
        with torch.cuda.stream(stream):
            stream.wait_event(self.used)
            self.room.copy_(self.staging, non_blocking=True)
            self.copied.record(stream)

    def begin(self) -> None:
        """What is computed from here on waits until the room is filled."""
        if self.cuda:
            torch.cuda.current_stream(self.device).wait_event(self.copied)

    def end(self) -> None:
        """Nothing that is computed from here on uses the room."""
        if self.cuda:
            self.used.record(torch.cuda.current_stream(self.device))


def views(room: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Places in `room` (uint8) for tensors of those shapes and types, one after the other."""
    found, at = [], 0
    for x in like:
        found.append(room[at : at + x.nbytes].view(x.dtype).view(x.shape))
        at += -(-x.nbytes // ALIGNED) * ALIGNED
    return found


class _Stream:
    """Layers whose weights come to the device when they are called, each while the one before it
    computes.
    """

    def __init__(self, layers: Sequence[nn.Module], device: torch.device) -> None:
        if any(getattr(layer, "_compiled_call_impl", None) is not None for layer in layers):
            raise ValueError(
                "layers that are compiled can't be offloaded one by one; set compile = false, or"
                " offload whole parts"
            )
        self.layers, self.device = layers, device
        self.weights = [_unique(_tensors(layer)) for layer in layers]
        self.home = [[x.data for x in each] for each in self.weights]
        size = max(sum(-(-x.nbytes // ALIGNED) * ALIGNED for x in each) for each in self.home)
        self.slots = [_Slot(size, device), _Slot(size, device)]
        self.side = torch.cuda.Stream(device) if device.type == "cuda" else None
        self.coming: int | None = None  # whose weights are in the slot that was filled last

    @contextmanager
    def attached(self) -> Iterator[None]:
        """While it is entered, calling a layer brings its weights; also a call that fails takes
        them away again.
        """
        handles = []
        for n, layer in enumerate(self.layers):
            handles.append(layer.register_forward_pre_hook(lambda *_, n=n: self._bring(n)))
            handles.append(
                layer.register_forward_hook(lambda *_, n=n: self._leave(n), always_call=True)
            )
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
            for n in range(len(self.layers)):
                self._home(n)
            if self.side is not None:  # the rooms are let go; the last copy into one may still run
                torch.cuda.current_stream(self.device).wait_stream(self.side)

    def _bring(self, n: int) -> None:
        if self.coming != n:
            self._fetch(n)
        slot = self.slots[-1]
        slot.begin()
        for x, view in zip(self.weights[n], views(slot.room, self.home[n]), strict=True):
            x.data = view

    def _leave(self, n: int) -> None:
        self.slots[-1].end()
        self._home(n)
        # after the last one comes the first one of the next pass
        self._fetch((n + 1) % len(self.layers))

    def _home(self, n: int) -> None:
        for x, data in zip(self.weights[n], self.home[n], strict=True):
            x.data = data

    def _fetch(self, n: int) -> None:
        """Into the slot that isn't in use."""
        self.slots.reverse()
        self.slots[-1].fill(self.home[n], self.side)
        self.coming = n
