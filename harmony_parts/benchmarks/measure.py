"""Time and memory, on a CPU or a CUDA device."""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import attrs
import click
import torch
from torch import Tensor

QUICK = "It shows that all of it runs; its figures mean nothing."
FLUSH = 256 * 2**20  # bytes, more than any second-level cache


@attrs.frozen
class Times:
    """Seconds of repeated runs."""

    median: float
    low: float  # quartiles
    high: float
    least: float
    runs: int

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Times:
        """From at least two runs."""
        low, median, high = statistics.quantiles(seconds, n=4, method="inclusive")
        return cls(median, low, high, min(seconds), len(seconds))


class Clock:
    """Times one call at a time. On CUDA: by events, after the caches were overwritten."""

    def __init__(self, device: torch.device) -> None:
        self.cuda = device.type == "cuda"
        self.flush = torch.empty(FLUSH if self.cuda else 0, dtype=torch.uint8, device=device)

    def __call__(self, f: Callable[[], Any]) -> tuple[Any, float]:
        """What f returns, and the seconds that it took."""
        if not self.cuda:
            begun = time.perf_counter()
            return f(), time.perf_counter() - begun
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        self.flush.zero_()
        begin.record()
        result = f()
        end.record()
        end.synchronize()
        return result, begin.elapsed_time(end) / 1e3


def copy_bandwidth(device: torch.device, size: int, runs: int) -> float:
    """Bytes read and written per second by copying a tensor of `size` bytes: median."""
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target, clock = torch.empty_like(source), Clock(device)
    seconds = [clock(lambda: target.copy_(source))[1] for _ in range(runs + 2)][2:]
    return 2 * size / statistics.median(seconds)


def step_memory(step: Callable[[], Tensor], there: Sequence[Tensor], device: torch.device) -> int:
    """Bytes that a training step needs beside what is `there`: on CUDA the peak, on a CPU what is
    saved for the backward pass.
    """
    if device.type == "cuda":
        step().sum().backward()  # gradients, and what is made once, are there before
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step().sum().backward()
        return torch.cuda.max_memory_allocated() - before
    saved: dict[int, int] = {}

    def keep(x: Tensor) -> Tensor:
        saved[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        out = step()  # alive until counted: so no memory is counted twice
    total = sum(
        size
        for pointer, size in saved.items()
        if pointer not in {x.untyped_storage().data_ptr() for x in there}
    )
    out.sum().backward()
    return total


def machine(device: torch.device) -> dict[str, Any]:
    """Device and versions, for a report."""
    versions = {"python": platform.python_version()}
    for package in ("torch", "triton", "harmony-parts"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    more = (
        {"cuda": torch.version.cuda}
        if device.type == "cuda"
        else {"threads": torch.get_num_threads()}
    )
    return {"device": name, **more, "versions": versions}


def keep(report: Mapping[str, Any], file: Path, quick: bool) -> None:
    """Write a report as JSON; that of a quick run says so, for its figures mean nothing. Raises
    UsageError, see `check_kept`.
    """
    check_kept(file, quick)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(
        json.dumps({"quick": True, **report} if quick else report, indent=1) + "\n",
        encoding="utf-8",
    )


def check_kept(file: Path | None, quick: bool) -> None:
    """Raises UsageError where a quick run would overwrite a file that isn't another quick run's; a
    command asks before it measures.
    """
    if file is None or not quick or not file.exists():
        return
    try:
        again = json.loads(file.read_text(encoding="utf-8"))["quick"] is True
    except (ValueError, KeyError, TypeError, OSError):
        again = False
    if not again:
        raise click.UsageError(
            f"{file} holds what isn't a quick run's, and quick figures mean nothing: choose another"
            " file, or leave --quick out"
        )


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")),
        platform.processor() or "CPU",
    )
