"""A stand-in for a GPU: a device whose tensors are computed on the CPU, apart from the CPU's own.

Within `stand_in()`, tensors can be created on or moved to the device `DEVICE`. As on a GPU, an
operation takes tensors of one device and numbers, and the host sees values only by a transfer. Each
transfer, and each operation that waits for the device, is counted with the place that caused it.
There is no backward pass.
"""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

DEVICE = torch.device("privateuseone", 0)  # torch's type for devices that it doesn't know
WAITS = {"_local_scalar_dense", "nonzero", "equal", "is_nonzero", "masked_select"}


class Remote(torch.Tensor):
    """A tensor on the stand-in; `inner` holds its values."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> Remote:
        made: Remote = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=DEVICE,
            requires_grad=False,
        )
        made.inner = inner
        return made

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"Remote({self.inner!r})"

    def tolist(self) -> Any:
        """As torch's own, which refuses subclasses."""
        return self.cpu().tolist()

    def numpy(self, *, force: bool = False) -> Any:
        """As a GPU's: refused."""
        raise TypeError("can't convert a tensor of the device to numpy: use Tensor.cpu() first")

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{func} outside of stand_in()")


class StandIn(TorchDispatchMode):
    """Runs operations of the stand-in on the CPU, and counts what would make the host wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()
        self.launched = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = func.overloadpacket.__name__, dict(kwargs or {})
        flat, spec = tree_flatten((args, kwargs))
        tensors = [x for x in flat if isinstance(x, Tensor)]
        here = [isinstance(x, Remote) for x in tensors]
        asked = kwargs.get("device")
        target = None if asked is None else torch.device(asked) == DEVICE  # True: to the device
        if not any(here) and not target:
            return func(*args, **kwargs)
        if name == "copy_":
            target = here[0]
        self.launched += 1
        self._count(name, args, tensors, here, target)
        inner = [x.inner if isinstance(x, Remote) else x for x in flat]
        inner_args, inner_kwargs = tree_unflatten(inner, spec)
        if asked is not None:
            inner_kwargs["device"] = torch.device("cpu")
        out = func(*inner_args, **inner_kwargs)
        if target is False:
            return out
        known = {id(x.inner): x for x in tensors if isinstance(x, Remote)}

        def outside(x: Any) -> Any:
            return known[id(x)] if id(x) in known else Remote(x) if type(x) is Tensor else x

        return tree_map(outside, out)

    def _count(
        self, name: str, args: Any, tensors: list[Tensor], here: list[bool], target: bool | None
    ) -> None:
        """Count what makes the host wait. Raises RuntimeError for tensors of both devices."""
        if name == "copy_":
            if here[0] != here[1]:
                self._wait("from the host" if here[0] else "to the host")
        elif target is not None:
            if tensors and here[0] != target:
                self._wait("from the host" if target else "to the host")
        elif name.startswith(("index", "_index_put", "_unsafe_index")):
            given = [x for x in tree_flatten(args[1:])[0] if isinstance(x, Tensor)]
            if any(x.dtype in (torch.bool, torch.uint8) for x in given[:1]):
                self._wait(f"{name} by a mask")
            if not all(here):
                self._wait(f"{name} with a tensor of the host")
        elif any(x.ndim and not there for x, there in zip(tensors, here, strict=True)):
            raise RuntimeError(f"{name}: tensors of the host and of the device")
        if name in WAITS:
            self._wait(name)

    def _wait(self, what: str) -> None:
        """Count a wait, with the place in the library that caused it."""
        places = (
            f"{frame.filename.rpartition('harmony_parts/')[2]} {frame.name}"
            for frame in reversed(traceback.extract_stack())
            if "/harmony_parts/" in frame.filename
        )
        self.waits[f"{what}: {next(places, 'elsewhere')}"] += 1


@cache
def _register() -> None:
    """What torch asks of a device: once in a process."""
    torch._register_device_module(DEVICE.type, backend_registration._DummyBackendModule())
    guard = backend_registration._DummyDeviceGuard()
    torch._C._acc.register_python_privateuseone_device_guard(guard)


def is_available() -> bool:
    """Whether this torch lets Python define a device."""
    return hasattr(backend_registration, "_DummyDeviceGuard") and hasattr(torch._C, "_acc")


@contextmanager
def stand_in() -> Iterator[StandIn]:
    """The device exists within this block."""
    _register()
    before = torch._C._only_lift_cpu_tensors()
    torch._C._set_only_lift_cpu_tensors(True)  # so that torch.tensor(..., device=...) is a transfer
    try:
        with StandIn() as mode:
            yield mode
    finally:
        torch._C._set_only_lift_cpu_tensors(before)
