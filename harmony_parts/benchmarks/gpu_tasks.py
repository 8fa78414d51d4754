"""What `gpu` runs besides tests and the other benchmarks: `gpu_tasks smoke|tune|compile K N|tiny`.

Each figure is appended at once to results.jsonl in $HARMONY_GPU_OUT.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor

from harmony_parts.benchmarks.alternatives import DIRECTIONS, Candidate, Problem, Shape
from harmony_parts.benchmarks.gpu import append
from harmony_parts.benchmarks.gpu_settings import VIDEO_TENSORS, Setting, runs
from harmony_parts.benchmarks.local_attention import WAN_5S, solve
from harmony_parts.benchmarks.measure import Clock, Times, copy_bandwidth, machine

OUT = Path(os.environ.get("HARMONY_GPU_OUT", "out/gpu"))


def record(what: str, measure: Callable[[], dict[str, Any]], **about: Any) -> None:
    """Append what `measure` returns, or its error; it never raises."""
    try:
        found = {"ok": True, **measure()}
    except Exception as error:  # whatever a GPU's compiler or driver raises: the rest goes on
        traceback.print_exc()
        found = {"ok": False, "error": f"{type(error).__name__}: {error}"[:500]}
    append(OUT, {"figure": what, **about, **found})


def smoke(device: torch.device) -> None:
    """Copy bandwidth, kernels against float64, five training steps, a clip."""
    cuda = device.type == "cuda"
    record("machine", lambda: machine(device))
    size = 2**31 if cuda else 2**24
    record("copy", lambda: {"bytes_per_second": copy_bandwidth(device, size, 10)})
    if cuda:
        for direction in DIRECTIONS:
            record("kernels", lambda d=direction: kernel_errors(d), direction=direction)  # type: ignore[misc]
    record("training", lambda: training_steps(device))
    record("clip", lambda: clip(device))


def kernel_errors(direction: str) -> dict[str, Any]:
    """Relative RMS errors of output and gradients against eager in float64."""
    from harmony_parts.attention.eager import Eager
    from harmony_parts.attention.triton import Triton

    shape = Shape("smoke", 4, 128, 31, 220, 157, torch.bfloat16)
    p = Problem.of(shape, direction, torch.device("cuda"))

    def candidate(attention: Any) -> Candidate:
        return Candidate("", lambda *x: attention(*x, p.windows, p.q_angles, p.k_angles))

    exact, mine = solve(p, candidate(Eager()), torch.float64), solve(p, candidate(Triton()))
    errors = [float((a.double() - b).norm() / b.norm()) for a, b in zip(mine, exact, strict=True)]
    return {"errors": errors}


def training_steps(device: torch.device) -> dict[str, Any]:
    """Losses of five steps of a demo, by the command's own function."""
    import json

    from harmony_parts.assembly.read import read_recipe
    from harmony_parts.train.loop import train

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
    from harmony_parts.assembly.read import read_recipe
    from harmony_parts.generate.pipeline import Pipeline

    pipeline = Pipeline.assemble(read_recipe("demo")).to(device)
    began = time.perf_counter()
    made = pipeline.generate("a ball", steps=4).clip
    if made.frames is None or made.waveform is None:
        raise ValueError("a stream is missing")
    return {"frames": len(made.frames), "seconds": time.perf_counter() - began}


def launcher(
    kernel: str, reach: float, setting: Setting, problems: dict[Any, Any]
) -> tuple[Callable[[], None], list[Tensor]]:
    """One main kernel alone at 5 s of harmony-5b's shapes, and the tensors that it fills."""
    from harmony_parts.kernels.local_cross_attention import backward, forward, launch, op

    reads = kernel.startswith("frames")
    if (reads, reach) not in problems:
        shape = attrs.evolve(WAN_5S, reach=reach)
        direction = DIRECTIONS[0 if reads else 1]
        problems[reads, reach] = Problem.of(shape, direction, torch.device("cuda"))
    p = problems[reads, reach]
    w = p.windows
    own = (w.of_query, w.of_key, w.most_keys) if reads else (w.of_key, w.of_query, w.most_queries)
    tables = op.Tables.of(*own)
    frames, latents = (p.q, p.k.flatten(1, 2)) if reads else (p.k, p.q.flatten(1, 2))
    angles = (p.q_angles, p.k_angles) if reads else (p.k_angles, p.q_angles)
    turns = op.rotations(angles[0]), op.rotations(angles[1])
    ranges = tables.latents_of_frame, tables.frames_of_latent
    calls = launch.Launch(frames, latents, ranges, turns, tables.window, False)
    c = calls.constants(kernel) | {"SPLIT": setting.split, "TILE": setting.tile}
    c |= {"TILES": -(-calls.s // (setting.tile * setting.split))}
    c |= {"num_warps": setting.warps, "num_stages": setting.stages}
    v, do = (p.v.flatten(1, 2), p.do) if reads else (p.v, p.do.flatten(1, 2))
    function = getattr(backward if kernel.endswith("backward") else forward, kernel)
    rsqrt: tuple[float, ...] = (calls.d**-0.5,) if kernel.endswith("backward") else ()

    def partial(*last: int) -> Tensor:
        return calls.partial(c, *last).zero_()

    inputs: tuple[Tensor, ...]
    if kernel == "frames_read_forward":
        inputs, outs = (frames, latents, v), [torch.zeros_like(frames)]
    elif kernel == "frames_read_backward":
        inputs = frames, latents, v, do
        outs = [torch.zeros_like(frames), partial(calls.d), partial(calls.d)]
    elif kernel == "latents_read_forward":
        inputs, outs = (latents, frames, v), [partial(), partial(), partial(calls.d)]
    else:
        inputs = latents, frames, v, *launch.run_latents_read(calls, frames, v), do
        outs = [partial(calls.d), torch.zeros_like(frames), torch.zeros_like(frames)]
    return lambda: calls.per_frame(function, c, *inputs, *outs, rsqrt_d=rsqrt), outs


def compile_share(k: int, n: int) -> None:
    """Compile every n-th setting from k into Triton's cache; several processes do it at once."""
    problems: dict[Any, Any] = {}
    for kernel, reach, setting in list(runs())[k::n]:
        try:
            launcher(kernel, reach, setting, problems)[0]()
        except Exception as error:  # `tune` records it
            print(kernel, setting, error)
    torch.cuda.synchronize()


def tune() -> None:
    """Time every setting, as a share of a copy's bandwidth; results are compared with the first."""
    device = torch.device("cuda")
    copy, clock = copy_bandwidth(device, 2**30, 10), Clock(device)
    video = WAN_5S.frames * WAN_5S.tokens * WAN_5S.heads * WAN_5S.head * 2  # bytes, bfloat16
    problems: dict[Any, Any] = {}
    norms: dict[Any, float] = {}
    for kernel, reach, setting in runs():

        def one(kernel: str = kernel, reach: float = reach, setting: Setting = setting) -> Any:
            call, outs = launcher(kernel, reach, setting, problems)
            times = Times.of([clock(call).seconds for _ in range(18)][3:])
            # of the streamed outputs; partials depend on the split
            norm = sum(float(x.float().norm()) for x in outs if x.dtype == torch.bfloat16)
            first = norms.setdefault((kernel, reach), norm)
            share = VIDEO_TENSORS[kernel] * video / times.median / copy
            same = abs(norm - first) <= 1e-3 * abs(first)
            return {"ms": times.median * 1e3, "of_copy": share, "same": same}

        record("setting", one, kernel=kernel, reach=reach, **setting._asdict())


def tiny() -> None:
    """The smallest problems, for compute-sanitizer: a narrow and a full head, both directions."""
    from harmony_parts.attention.triton import Triton

    for direction in DIRECTIONS:
        for head in (14, 128):
            shape = Shape("tiny", 2, head, 3, 21, 7, torch.bfloat16, 4, 2)
            p = Problem.of(shape, direction, torch.device("cuda"))
            attention = Triton()

            def run(q: Tensor, k: Tensor, v: Tensor, p: Problem = p) -> Tensor:
                return attention(q, k, v, p.windows, p.q_angles, p.k_angles)  # noqa: B023

            if not all(bool(x.isfinite().all()) for x in solve(p, Candidate("", run))):
                raise SystemExit(f"{direction}, heads of {head}: a result isn't finite")


def main(name: str, *rest: str) -> None:
    """Run one task."""
    cuda = torch.cuda.is_available()
    tasks: dict[str, Callable[[], None]] = {
        "smoke": lambda: smoke(torch.device("cuda" if cuda else "cpu")),
        "tune": tune,
        "compile": lambda: compile_share(int(rest[0]), int(rest[1])),
        "tiny": tiny,
    }
    tasks[name]()


if __name__ == "__main__":
    main(*sys.argv[1:])
