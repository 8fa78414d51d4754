"""Layers whose weights come to the device one layer at a time, while the layer before computes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

ALIGNED = 256  # bytes between the starts of tensors are multiples of this, as in CUDA's allocator


def weights_of(modules: Iterable[nn.Module]) -> list[Tensor]:
    """The parameters and buffers of modules, each tensor once."""
    tensors = (x for module in modules for x in (*module.parameters(), *module.buffers()))
    return list({id(x): x for x in tensors}.values())


_PINNED: WeakKeyDictionary[nn.Module, Tensor] = WeakKeyDictionary()
"""Layers whose weights are views of one page-locked buffer of the host, and that buffer."""


def pin_layers(
    layers: Sequence[nn.Module], free: int, allocate: Callable[[int], Tensor]
) -> list[Tensor] | None:
    """Move each layer's weights into a page-locked buffer, once, if `free` bytes are enough.

    Returns the buffers; `None`, with nothing changed, if they don't fit or layers share weights. A
    layer whose weights are in its buffer already stays as it is. torch rounds page-locked buffers
    up to a power of 2.
    """
    weights = [weights_of([layer]) for layer in layers]
    if len({id(x) for each in weights for x in each}) < sum(map(len, weights)):
        return None
    todo = [n for n, layer in enumerate(layers) if not _is_pinned(layer, weights[n])]
    sizes = {n: sum(_aligned(x.nbytes) for x in weights[n]) for n in todo}
    if sum(1 << max(0, size - 1).bit_length() for size in sizes.values()) > free:
        return None
    for n in todo:
        buffer = allocate(sizes[n])
        for x, view in zip(weights[n], views(buffer, weights[n]), strict=True):
            view.copy_(x.data)
            x.data = view
        _PINNED[layers[n]] = buffer
    return [_PINNED[layer] for layer in layers]


def _is_pinned(layer: nn.Module, weights: Sequence[Tensor]) -> bool:
    buffer = _PINNED.get(layer)
    if buffer is None or buffer.nbytes < sum(_aligned(x.nbytes) for x in weights):
        return False
    return all(
        x.data_ptr() == view.data_ptr()
        for x, view in zip(weights, views(buffer, weights), strict=True)
    )


def _page_locked(size: int) -> Tensor:
    return torch.empty(size, dtype=torch.uint8, pin_memory=True)


def _free_memory() -> int:
    """Bytes of the host's memory that may be page-locked: two thirds of what is available; 0 if
    that isn't known.
    """
    info = Path("/proc/meminfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    kilobytes = next((int(x.split()[1]) for x in lines if x.startswith("MemAvailable:")), 0)
    return kilobytes * 1024 * 2 // 3


class LayerSlot:
    """A buffer on the device for the weights of one layer.

    On CUDA it also has a page-locked staging buffer on the host, for asynchronous copies, unless
    the weights are page-locked themselves. Events: `copied`, the buffer is filled; `used`, the
    computation with it is done.
    """

    def __init__(self, size: int, device: torch.device, staged: bool = True) -> None:
        self.device, self.cuda = device, device.type == "cuda"
        self.buffer = torch.empty(size, dtype=torch.uint8, device=device)
        if self.cuda:
            self.staging = _page_locked(size if staged else 0)
            self.copied, self.used = torch.cuda.Event(), torch.cuda.Event()
            self.end()  # an earlier user of this memory may still compute

    def fill(self, host: Sequence[Tensor], stream: Any, pinned: Tensor | None = None) -> None:
        """Copy these tensors into the buffer, one after the other.

        On CUDA the copy runs on `stream`, while the device computes. `pinned`: the page-locked
        buffer that they are views of.
        """
        if not self.cuda:
            for view, x in zip(views(self.buffer, host), host, strict=True):
                view.copy_(x)
            return
        source = self.staging
        if pinned is not None:
            source = pinned
        else:
            self.copied.synchronize()  # the previous copy has left the staging buffer
            for view, x in zip(views(self.staging, host), host, strict=True):
                view.copy_(x)
        with torch.cuda.stream(stream):
            stream.wait_event(self.used)
            self.buffer[: source.nbytes].copy_(source, non_blocking=True)
            self.copied.record(stream)

    def begin(self) -> None:
        """Let later computation wait until the buffer is filled."""
        if self.cuda:
            torch.cuda.current_stream(self.device).wait_event(self.copied)

    def end(self) -> None:
        """Mark the end of the computation that uses the buffer."""
        if self.cuda:
            self.used.record(torch.cuda.current_stream(self.device))


def views(buffer: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Consecutive views of `buffer` (uint8) with the shapes and types of `like`."""
    made, at = [], 0
    for x in like:
        made.append(buffer[at : at + x.nbytes].view(x.dtype).view(x.shape))
        at += _aligned(x.nbytes)
    return made


def _aligned(size: int) -> int:
    return -(-size // ALIGNED) * ALIGNED


class LayerStream:
    """Layers whose weights are on the device only while they run.

    Two slots alternate: one for the layer that computes, one for the next layer's weights.
    """

    def __init__(self, layers: Sequence[nn.Module], device: torch.device) -> None:
        if any(getattr(layer, "_compiled_call_impl", None) is not None for layer in layers):
            raise ValueError(
                "compiled layers can't be offloaded one by one; set compile = false, or offload"
                " whole parts"
            )
        self.layers, self.device = layers, device
        self.pinned = (
            pin_layers(layers, _free_memory(), _page_locked) if device.type == "cuda" else None
        )
        self.weights = [weights_of([layer]) for layer in layers]
        self.home = [[x.data for x in each] for each in self.weights]
        size = max(sum(_aligned(x.nbytes) for x in each) for each in self.home)
        self.slots = [LayerSlot(size, device, self.pinned is None) for _ in range(2)]
        self.side = torch.cuda.Stream(device) if device.type == "cuda" else None
        self.fetched: int | None = None  # the layer whose weights are in the last slot

    @contextmanager
    def attached(self) -> Iterator[None]:
        """While active, a layer's weights arrive when it is called and leave after it, even if the
        call fails.
        """
        handles = []
        for n, layer in enumerate(self.layers):
            handles.append(layer.register_forward_pre_hook(lambda *_, n=n: self._enter(n)))
            handles.append(
                layer.register_forward_hook(lambda *_, n=n: self._exit(n), always_call=True)
            )
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
            for n in range(len(self.layers)):
                self._return_home(n)
            if self.side is not None:  # before the slots are freed: the last copy may still run
                torch.cuda.current_stream(self.device).wait_stream(self.side)

    def _enter(self, n: int) -> None:
        if self.fetched != n:
            self._fetch(n)
        slot = self.slots[-1]
        slot.begin()
        for x, view in zip(self.weights[n], views(slot.buffer, self.home[n]), strict=True):
            x.data = view

    def _exit(self, n: int) -> None:
        self.slots[-1].end()
        self._return_home(n)
        # after the last layer comes the first layer of the next pass
        self._fetch((n + 1) % len(self.layers))

    def _return_home(self, n: int) -> None:
        for x, data in zip(self.weights[n], self.home[n], strict=True):
            x.data = data

    def _fetch(self, n: int) -> None:
        """Copy a layer's weights into the slot that isn't in use."""
        self.slots.reverse()
        pinned = None if self.pinned is None else self.pinned[n]
        self.slots[-1].fill(self.home[n], self.side, pinned)
        self.fetched = n
