"""Kernels of local attention on a GPU: errors, settings to compare, and the smallest problems.

In a rehearsal they run in Triton's interpreter, on a toy problem.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import torch
from torch import Tensor

from harmony_parts.attention.eager import Eager
from harmony_parts.attention.triton import Triton
from harmony_parts.benchmarks.alternatives import DIRECTIONS, Candidate, Problem, Shape
from harmony_parts.benchmarks.gpu_results import DEVICE, record
from harmony_parts.benchmarks.gpu_settings import VIDEO_TENSORS, Setting, runs
from harmony_parts.benchmarks.local_attention import BOUND, WAN_5S, solve
from harmony_parts.benchmarks.measure import Clock, Times, copy_bandwidth

PLACE = torch.device(DEVICE)
TOY = Shape("rehearsal", 1, 16, 3, 5, 15, torch.bfloat16, reach=0.15)
SMOKE = Shape("smoke", 4, 128, 31, 220, 157, torch.bfloat16)
TUNED = WAN_5S if DEVICE == "cuda" else TOY
RUNS = 18 if DEVICE == "cuda" else 5
WARM_UP = 3


def kernel_errors(direction: str) -> dict[str, Any]:
    """Relative RMS errors of output and gradients against eager in float64.

    Raises ValueError if one is above the bound of its type.
    """
    shape = SMOKE if PLACE.type == "cuda" else TOY
    p = Problem.of(shape, direction, PLACE)

    def candidate(attention: Any) -> Candidate:
        return Candidate("", lambda *x: attention(*x, p.windows, p.q_angles, p.k_angles))

    exact, mine = solve(p, candidate(Eager()), torch.float64), solve(p, candidate(Triton()))
    errors = [float((a.double() - b).norm() / b.norm()) for a, b in zip(mine, exact, strict=True)]
    if not max(errors) <= BOUND[shape.dtype]:
        raise ValueError(f"errors of {errors}, more than {BOUND[shape.dtype]}")
    return {"errors": errors}


def launcher(
    kernel: str, reach: float, setting: Setting, problems: dict[Any, Any]
) -> tuple[Callable[[], None], list[Tensor]]:
    """One main kernel alone, at 5 s of harmony-5b's shapes, and the tensors that it fills."""
    from harmony_parts.kernels.local_cross_attention import backward, forward, launch, op

    reads = kernel.startswith("frames")
    if (reads, reach) not in problems:
        shape = attrs.evolve(TUNED, reach=reach)
        direction = DIRECTIONS[0 if reads else 1]
        problems[reads, reach] = Problem.of(shape, direction, PLACE)
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


def compile_share(k: int, n: int) -> bool:
    """Compile every n-th setting from k into Triton's cache; several processes do it at once."""
    problems: dict[Any, Any] = {}
    for kernel, reach, setting in list(runs())[k::n]:
        try:
            launcher(kernel, reach, setting, problems)[0]()
        except Exception as error:  # `tune` records it
            print(kernel, setting, error)
    if PLACE.type == "cuda":
        torch.cuda.synchronize(PLACE)
    return True


def tune() -> bool:
    """Time every setting, as a share of a copy's bandwidth; results are compared with the first.

    A setting that can't be launched is a result too.
    """
    size = 2**30 if PLACE.type == "cuda" else 2**20
    copy, clock = copy_bandwidth(PLACE, size, 10), Clock(PLACE)
    video = TUNED.frames * TUNED.tokens * TUNED.heads * TUNED.head * 2  # bytes, bfloat16
    problems: dict[Any, Any] = {}
    norms: dict[Any, float] = {}
    for kernel, reach, setting in runs():

        def one(kernel: str = kernel, reach: float = reach, setting: Setting = setting) -> Any:
            call, outs = launcher(kernel, reach, setting, problems)
            times = Times.of([clock(call).seconds for _ in range(RUNS)][WARM_UP:])
            # of the streamed outputs; partials depend on the split
            norm = sum(float(x.float().norm()) for x in outs if x.dtype == torch.bfloat16)
            first = norms.setdefault((kernel, reach), norm)
            share = VIDEO_TENSORS[kernel] * video / times.median / copy
            same = abs(norm - first) <= 1e-3 * abs(first)
            return {"ms": times.median * 1e3, "of_copy": share, "same": same}

        record("setting", one, kernel=kernel, reach=reach, **setting._asdict())
    return True


def smallest() -> bool:
    """The smallest problems, for compute-sanitizer: a narrow and a full head, both directions."""
    for direction in DIRECTIONS:
        for head in (14, 128):
            shape = Shape("smallest", 2, head, 3, 21, 7, torch.bfloat16, 4, 2)
            p = Problem.of(shape, direction, PLACE)

            def run(q: Tensor, k: Tensor, v: Tensor, p: Problem = p) -> Tensor:
                return Triton()(q, k, v, p.windows, p.q_angles, p.k_angles)

            if not all(bool(x.isfinite().all()) for x in solve(p, Candidate("", run))):
                print(f"{direction}, heads of {head}: a result isn't finite")
                return False
    return True
