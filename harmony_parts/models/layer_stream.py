"""Layers whose weights come to the device one layer at a time, while the layer before computes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

ALIGNED = 256  # bytes between the starts of tensors are multiples of this, as in CUDA's allocator


def weights_of(modules: Iterable[nn.Module]) -> list[Tensor]:
    """The parameters and buffers of modules, each tensor once."""
    tensors = (x for module in modules for x in (*module.parameters(), *module.buffers()))
    return list({id(x): x for x in tensors}.values())


class LayerSlot:
    """A buffer on the device for the weights of one layer.

    On CUDA it also has a page-locked staging buffer on the host, for asynchronous copies. Events:
    `copied`, the buffer is filled; `used`, the computation with it is done.
    """

    def __init__(self, size: int, device: torch.device) -> None:
        self.device, self.cuda = device, device.type == "cuda"
        self.buffer = torch.empty(size, dtype=torch.uint8, device=device)
        if self.cuda:
            self.staging = torch.empty(size, dtype=torch.uint8, pin_memory=True)
            self.copied, self.used = torch.cuda.Event(), torch.cuda.Event()
            self.end()  # an earlier user of this memory may still compute

    def fill(self, host: Sequence[Tensor], stream: Any) -> None:
        """Copy these tensors into the buffer, one after the other.

        On CUDA the copy runs on `stream`, while the device computes.
        """
        if not self.cuda:
            for view, x in zip(views(self.buffer, host), host, strict=True):
                view.copy_(x)
            return
        self.copied.synchronize()  # the previous copy has left the staging buffer
        for view, x in zip(views(self.staging, host), host, strict=True):
            view.copy_(x)
        with torch.cuda.stream(stream):
            stream.wait_event(self.used)
            self.buffer.copy_(self.staging, non_blocking=True)
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
        self.weights = [weights_of([layer]) for layer in layers]
        self.home = [[x.data for x in each] for each in self.weights]
        size = max(sum(_aligned(x.nbytes) for x in each) for each in self.home)
        self.slots = [LayerSlot(size, device), LayerSlot(size, device)]
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
        self.slots[-1].fill(self.home[n], self.side)
        self.fetched = n
