"""Measuring time and memory on a CPU or a CUDA device, and writing reports."""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import attrs
import click
import torch
from torch import Tensor

QUICK = "It only checks that the benchmark runs; ignore its figures."
FLUSH = 256 * 2**20  # bytes, larger than any L2 cache
CYCLES = 2e9  # of a GPU per second, about
LEAST_SLEEP, MOST_SLEEP = 1e-3, 0.1  # seconds


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


class Timed(NamedTuple):
    """One timed call."""

    result: Any
    seconds: float  # on the device
    host: float  # until the host had started all of it; on a CPU the same


class Clock:
    """Times single calls; on CUDA by events, after flushing the L2 cache.

    The GPU sleeps before the first event for longer than the host took for the last call, so that
    the time between the events is the device's alone. A call in which the host waits for the device
    is longer than that, and has the host's time in it.
    """

    def __init__(self, device: torch.device) -> None:
        self.device, self.cuda = device, device.type == "cuda"
        self.flush = torch.empty(FLUSH if self.cuda else 0, dtype=torch.uint8, device=device)
        self.host = 0.0

    def __call__(self, f: Callable[[], Any]) -> Timed:
        """The result of f, and the seconds that it took."""
        if not self.cuda:
            begun = time.perf_counter()
            result, seconds = f(), time.perf_counter() - begun
            return Timed(result, seconds, seconds)
        with torch.cuda.device(self.device):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            self.flush.zero_()
            torch.cuda._sleep(round(min(MOST_SLEEP, LEAST_SLEEP + 1.5 * self.host) * CYCLES))
            begin.record()
            begun = time.perf_counter()
            result = f()
            self.host = time.perf_counter() - begun
            end.record()
            end.synchronize()
        return Timed(result, begin.elapsed_time(end) / 1e3, self.host)


def copy_bandwidth(device: torch.device, size: int, runs: int) -> float:
    """Median bytes read and written per second when copying a tensor of `size` bytes."""
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target, clock = torch.empty_like(source), Clock(device)
    seconds = [clock(lambda: target.copy_(source)).seconds for _ in range(runs + 2)][2:]
    return 2 * size / statistics.median(seconds)


def step_memory(
    step: Callable[[], Tensor], existing: Sequence[Tensor], device: torch.device
) -> int:
    """Bytes of a training step besides the `existing` tensors.

    On CUDA the peak, on a CPU the tensors saved for the backward pass.
    """
    if device.type == "cuda":
        step().sum().backward()  # creates gradients and cached tables
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        step().sum().backward()
        return torch.cuda.max_memory_allocated(device) - before
    saved: dict[int, int] = {}

    def record(x: Tensor) -> Tensor:
        saved[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(record, lambda x: x):
        out = step()  # stays alive, so that no pointer is reused
    total = sum(
        size
        for pointer, size in saved.items()
        if pointer not in {x.untyped_storage().data_ptr() for x in existing}
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


def write_report(report: Mapping[str, Any], file: Path, quick: bool) -> None:
    """Write a report as JSON, marked if it is from a quick run; a cut leaves the one before.

    Raises UsageError if a quick run would overwrite a measured report.
    """
    check_overwrite(file, quick)
    file.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"quick": True, **report} if quick else report, indent=1) + "\n"
    part = file.with_name(file.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(file)


def check_overwrite(file: Path | None, quick: bool) -> None:
    """Raises UsageError if a quick run would overwrite anything but a quick run's report.

    Commands call it before they measure.
    """
    if file is None or not quick or not file.exists():
        return
    try:
        quick_report = json.loads(file.read_text(encoding="utf-8"))["quick"] is True
    except (ValueError, KeyError, TypeError, OSError):
        quick_report = False
    if not quick_report:
        raise click.UsageError(
            f"{file} is not the report of a quick run, and --quick would overwrite it:"
            " choose another file, or leave --quick out"
        )


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")),
        platform.processor() or "CPU",
    )
