"""Where the time of a model goes on a GPU, by kernel, and how large a batch of passes should be."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from harmony_parts.assembly.read import read_recipe
from harmony_parts.benchmarks.gpu_results import DEVICE, record
from harmony_parts.benchmarks.guidance import Bench
from harmony_parts.benchmarks.measure import Clock, Times
from harmony_parts.benchmarks.model_steps import Model, loss
from harmony_parts.generate.pipeline import Pipeline
from harmony_parts.guidance.cfg import CFG

PLACE = torch.device(DEVICE)
CUDA = PLACE.type == "cuda"
ROWS = 25  # kernels of a profile, those that take longest
NAME = 90  # characters of a kernel's name
RUNS = 5
CLIPS = ((1, 6), (1, 24), (4, 24), (16, 24), (64, 24)) if CUDA else ((1, 6), (1, 12))
"""Clips and frames of each batch for which passes are run apart and together."""


def profile() -> bool:
    """Four layers of harmony-5b: a pass and a training step without optimizer, by kernel.

    On a CPU a demo of one layer.
    """
    name, layers, dtype = ("harmony-5b", 4, torch.bfloat16) if CUDA else ("demo", 1, torch.float32)
    settings = ("denoiser.interaction.attention=triton",) if CUDA else ()
    model = Model(name, settings, dtype)
    denoiser = model.at(layers).to_empty(device=PLACE)
    with torch.no_grad():
        for parameter in denoiser.parameters():
            parameter.normal_(std=0.02)
    given = model.given.random(PLACE, torch.Generator().manual_seed(0))

    def forward() -> None:
        with torch.no_grad():
            denoiser(given.av, given.times, given.conditions)

    def training() -> None:
        loss(denoiser, given).backward()
        denoiser.zero_grad()

    steps = {"forward": forward, "training step without optimizer": training}
    good = [
        record("profile", partial(by_kernel, step), what=what, recipe=name, layers=layers)
        for what, step in steps.items()
    ]
    return all(good)


def by_kernel(step: Callable[[], None]) -> dict[str, Any]:
    """Seconds of a step and of its launch, and the milliseconds of its slowest kernels."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiler

    clock = Clock(PLACE)
    for _ in range(2):
        step()
    timed = clock(step)
    activity = ProfilerActivity.CUDA if CUDA else ProfilerActivity.CPU
    with profiler(activities=[activity]) as found:
        step()
        if CUDA:
            torch.cuda.synchronize(PLACE)
    kernels = [
        (e.key[:NAME], e.count, (e.self_device_time_total if CUDA else e.self_cpu_time_total) / 1e3)
        for e in found.key_averages()
    ]
    kernels.sort(key=lambda each: -each[2])
    return {
        "seconds": timed.seconds,
        "host_seconds": timed.host,
        "launches": sum(count for _, count, _ in kernels),
        "ms": sum(ms for *_, ms in kernels),
        "kernels": kernels[:ROWS],
    }


def together() -> bool:
    """A step of CFG with the demo's model, its passes apart and in one batch, by their latents."""
    pipeline = Pipeline.assemble(read_recipe("demo")).to(PLACE)
    good = [
        record("together", partial(batching, pipeline, clips, frames), clips=clips, frames=frames)
        for clips, frames in CLIPS
    ]
    return all(good)


def batching(pipeline: Pipeline, clips: int, frames: int) -> dict[str, Any]:
    """Latents of both passes, and milliseconds per step of each way, the host's time included."""
    bench = Bench(pipeline, clips, frames, 4)
    bench.noise = bench.noise.map(lambda x: x.to(PLACE))
    clock = Clock(PLACE)
    seconds: dict[str, list[float]] = {"apart": [], "together": []}
    for _ in range(RUNS):
        for way, limit in (("apart", 0), ("together", 10**9)):
            timed = clock(partial(bench.sample, CFG(), limit))
            seconds[way].append(max(timed.seconds, timed.host))
    times = {way: Times.of(each[1:]).median for way, each in seconds.items()}
    return {
        "latents": 2 * bench.latents,
        **{f"{way}_ms": 1e3 * each / bench.steps for way, each in times.items()},
    }
