"""What `gpu` runs besides tests and the other benchmarks: `gpu_tasks NAME`, by their names below.

Each figure is appended at once to results.jsonl in $HARMONY_GPU_OUT. Tasks of kernels and of models
are imported when they are run, since their libraries may be what is missing.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from harmony_parts.assembly.read import read_recipe
from harmony_parts.benchmarks.alternatives import DIRECTIONS
from harmony_parts.benchmarks.gpu_results import DEVICE, record
from harmony_parts.benchmarks.measure import copy_bandwidth, machine
from harmony_parts.generate.pipeline import Pipeline
from harmony_parts.train.loop import train


def smoke(device: torch.device) -> bool:
    """Copy bandwidth, kernels against float64, five training steps, a clip; whether all is well."""
    cuda = device.type == "cuda"
    size = 2**31 if cuda else 2**24
    good = [
        record("machine", lambda: machine(device)),
        record("copy", lambda: {"bytes_per_second": copy_bandwidth(device, size, 10)}),
    ]
    if cuda:
        good += [record("kernels", lambda d=d: kernels(d), direction=d) for d in DIRECTIONS]  # type: ignore[misc]
    good.append(record("training", lambda: training_steps(device)))
    good.append(record("clip", lambda: clip(device)))
    return all(good)


def kernels(direction: str) -> dict[str, Any]:
    """`kernel_errors`, if Triton can be imported."""
    from harmony_parts.benchmarks.gpu_kernels import kernel_errors

    return kernel_errors(direction)


def training_steps(device: torch.device) -> dict[str, Any]:
    """Losses of five steps of a demo, by the command's own function."""
    overrides = ("train.prepared=8", "data.size=8", "train.log_every=1", "train.batch=4")
    recipe = read_recipe("demo", (*overrides, "train.steps=5"))
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        train(recipe, out=Path(folder), device=str(device), progress=False)
        lines = (Path(folder) / "log.jsonl").read_text(encoding="utf-8").splitlines()
    losses = [json.loads(line)["loss"] for line in lines]
    return {"losses": losses, "seconds": time.perf_counter() - began}


def clip(device: torch.device) -> dict[str, Any]:
    """A clip of an untrained demo in four steps."""
    pipeline = Pipeline.assemble(read_recipe("demo")).to(device)
    began = time.perf_counter()
    made = pipeline.generate("a ball", steps=4).clip
    if made.frames is None or made.waveform is None:
        raise ValueError("a stream is missing")
    return {"frames": len(made.frames), "seconds": time.perf_counter() - began}


def main(name: str, *rest: str) -> None:
    """Run one task."""
    if name == "smoke":
        cuda = DEVICE == "cuda" and torch.cuda.is_available()
        good = smoke(torch.device("cuda" if cuda else "cpu"))
    elif name in ("profile", "together"):
        from harmony_parts.benchmarks import gpu_models

        good = getattr(gpu_models, name)()
    else:
        from harmony_parts.benchmarks import gpu_kernels

        tasks: dict[str, Callable[..., bool]] = {
            "tune": gpu_kernels.tune,
            "compile": gpu_kernels.compile_share,
            "smallest": gpu_kernels.smallest,
        }
        good = tasks[name](*map(int, rest))
    sys.exit(not good)


if __name__ == "__main__":
    main(*sys.argv[1:])
