"""Time and memory of local cross-attention against its alternatives."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import attrs
import click
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from harmony_parts.attention.eager import Eager
from harmony_parts.benchmarks.alternatives import (
    DIRECTIONS,
    Attention,
    Candidate,
    Problem,
    Shape,
    candidates,
)
from harmony_parts.benchmarks.measure import (
    QUICK,
    Clock,
    Times,
    check_overwrite,
    copy_bandwidth,
    machine,
    step_memory,
    write_report,
)

SMALL = Shape("small", 4, 64, 31, 220, 157, torch.float32)
# harmony-5b: Wan2.2-5B at 704 x 1280, windows of 0.15 s beyond a latent's own interval
WAN_5S = Shape("5 s", 24, 128, 31, 880, 157, torch.bfloat16, 16, 3, reach=0.15)
WAN_10S = Shape("10 s", 24, 128, 61, 880, 313, torch.bfloat16, 16, 3, reach=0.15)
TOY = Shape("toy", 2, 16, 4, 12, 20, torch.float32)
# Bounds of the relative RMS error against float64: several roundings of each type, and far below
# the effect of a wrong window or angle.
BOUND = {torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}
NOTE = {
    "cpu": (
        "Without triton, whose kernels need a CUDA device: on a CPU they are only interpreted, for"
        " tests, and that time would mean nothing."
    ),
    "cuda": "",
}


@attrs.frozen
class Row:
    """The result of one candidate on one problem."""

    shape: str
    direction: str
    name: str
    turned: bool
    ours: bool
    same: bool
    # the largest over output and gradients; None for another operator, or if it failed
    error: float | None = None
    forward: Times | None = None
    backward: Times | None = None
    forward_host: Times | None = None  # until the host had started it; the same on a CPU
    backward_host: Times | None = None
    forward_bytes: int = 0  # least bytes to move
    backward_bytes: int = 0
    fault: str = ""


def solve(problem: Problem, candidate: Candidate, dtype: torch.dtype | None = None) -> list[Tensor]:
    """Output and gradients with respect to the unrotated q and k, and v."""
    leaves = [
        x.detach().to(dtype or x.dtype).requires_grad_(candidate.backward)
        for x in (problem.q, problem.k, problem.v)
    ]
    q, k, v = leaves
    with torch.set_grad_enabled(candidate.backward):
        out = (
            candidate.run(*problem.rotated(q, k), v) if candidate.turned else candidate.run(q, k, v)
        )
    if not candidate.backward:
        return [out]
    return [out.detach(), *torch.autograd.grad(out, leaves, problem.do.to(out.dtype))]


def gate(problem: Problem, tried: list[Candidate]) -> tuple[list[Candidate], list[Row]]:
    """The candidates with correct results, and a row for each, with the fault of the others.

    Raises the exception if an implementation of this library fails.
    """
    exact = solve(problem, Candidate("exact", _eager(problem)), torch.float64)
    passed, rows = [], []
    for candidate in tried:
        row = Row(
            problem.shape.name,
            problem.direction,
            candidate.name,
            candidate.turned,
            candidate.ours,
            candidate.same,
        )
        try:
            found = solve(problem, candidate)
        except Exception as error:  # torch raises various types for unavailable kernels
            if candidate.ours:
                raise
            rows.append(
                attrs.evolve(
                    row, fault=f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"[:90]
                )
            )
            continue
        pairs = zip(found, exact) if candidate.same else ()
        errors = [float((mine.double() - true).norm() / true.norm()) for mine, true in pairs]
        if any(not error <= BOUND[problem.shape.dtype] for error in errors):
            rows.append(attrs.evolve(row, error=max(errors), fault="wrong result"))
            continue
        passed.append(candidate)
        rows.append(attrs.evolve(row, error=max(errors) if errors else None))
    return passed, rows


def _eager(problem: Problem) -> Attention:
    return lambda q, k, v: Eager()(q, k, v, problem.windows, problem.q_angles, problem.k_angles)


def timed(problem: Problem, passed: list[Candidate], rows: list[Row], runs: int) -> list[Row]:
    """The rows with times.

    Candidates are interleaved, so that other load on the machine affects all of them alike.
    """
    clock = Clock(problem.q.device)
    inputs = {
        False: (problem.q, problem.k, problem.v),
        True: (*problem.rotated(problem.q, problem.k), problem.v),
    }
    seconds: dict[str, dict[str, list[float]]] = {
        candidate.name: {
            passes + on: [] for passes in ("forward", "backward") for on in ("", "_host")
        }
        for candidate in passed
    }
    for run in range(runs + 2):  # two to warm up
        for candidate in passed:
            leaves = [
                x.detach().requires_grad_(candidate.backward) for x in inputs[candidate.turned]
            ]
            forward = clock(partial(candidate.run, *leaves))
            mine, out = {"forward": forward}, forward.result
            if candidate.backward:
                mine["backward"] = clock(partial(torch.autograd.grad, out, leaves, problem.do))
            del out, forward
            for passes, one in mine.items() if run >= 2 else ():
                seconds[candidate.name][passes].append(one.seconds)
                seconds[candidate.name][passes + "_host"].append(one.host)
            del mine
    least = dict(zip(("forward_bytes", "backward_bytes"), problem.least_bytes()))
    done = []
    for row in rows:
        found = {
            passes: Times.of(each) if each else None
            for passes, each in seconds.get(row.name, {}).items()
        }
        done.append(attrs.evolve(row, **found, **least))  # type: ignore[arg-type]
    return done


class Layer(nn.Module):
    """Projections around an attention: one direction of an interaction."""

    def __init__(self, problem: Problem, candidate: Candidate) -> None:
        super().__init__()
        self.problem, self.candidate = problem, candidate
        width = problem.shape.heads * problem.shape.head
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))

    def forward(self, reader: Tensor, source: Tensor) -> Tensor:
        """[B, Tq, Sq, C] and [B, Tk, Sk, C] -> [B, Tq, Sq, C]."""
        q, k, v = (
            x.unflatten(-1, (self.problem.shape.heads, -1))
            for x in (self.q(reader), self.k(source), self.v(source))
        )
        if self.candidate.turned:
            q, k = self.problem.rotated(q, k)
        return self.o(self.candidate.run(q, k, v).flatten(-2))


def memory(problem: Problem, passed: list[Candidate]) -> list[dict[str, Any]]:
    """Memory of a training step of one layer, for candidates with a backward pass."""
    found = []
    for candidate in passed:
        if candidate.backward:
            layer = Layer(problem, candidate).to(problem.q.device, problem.q.dtype)
            reader, source = (
                x.detach().flatten(-2).requires_grad_() for x in (problem.q, problem.k)
            )
            size = step_memory(
                partial(layer, reader, source),
                [reader, source, *layer.parameters()],
                problem.q.device,
            )
            found.append(
                {
                    "shape": problem.shape.name,
                    "direction": problem.direction,
                    "name": candidate.name,
                    "bytes": size,
                }
            )
    return found


def times_table(rows: list[Row], shape: Shape, bandwidth: float) -> Table:
    """The rows of one shape."""
    grid = Table(title=str(shape), title_justify="left", caption_justify="left", min_width=80)
    grid.add_column("")
    for column in ("ms", "least", "quartiles", "of copy", "of mask"):
        grid.add_column(column, justify="right", no_wrap=True)
    for direction in DIRECTIONS:
        here = [row for row in rows if (row.shape, row.direction) == (shape.name, direction)]
        for passes in ("forward", "backward"):
            grid.add_row(f"{direction}, {passes}", style="italic")
            base = next(
                (getattr(row, passes) for row in here if row.name == "SDPA with a mask"), None
            )
            for row in here:
                times, name = getattr(row, passes), f"  {row.name}{'*' if row.turned else ''}"
                if times is None:
                    grid.add_row(f"{name}: {row.fault or 'no backward pass on this device'}")
                    continue
                grid.add_row(
                    name,
                    f"{times.median * 1e3:.3g}",
                    f"{times.least * 1e3:.3g}",
                    f"{times.low * 1e3:.3g} to {times.high * 1e3:.3g}",
                    f"{getattr(row, passes + '_bytes') / times.median / bandwidth:.0%}",
                    f"{base.median / times.median:.2f}x" if base else "",
                    style="bold" if row.ours else None,
                )
            grid.add_section()
    grid.caption = (
        "Medians, the forward pass as in training. Of copy: bandwidth for the least bytes to move,"
        f" relative to a copy's {bandwidth / 1e9:.3g} GB/s. Of mask: speed relative to SDPA with a"
        " mask. * gets rotated queries and keys for free; the others rotate within their time."
        " Global SDPA is another operator."
    )
    return grid


def memory_table(found: list[dict[str, Any]], device: torch.device) -> Table:
    """Memory of all candidates."""
    what = (
        "peak beside weights and inputs" if device.type == "cuda" else "saved for the backward pass"
    )
    grid = Table(title=f"One layer's training step: {what}, MB", title_justify="left")
    for column in ("shape", *DIRECTIONS):
        grid.add_column(column)
    for shape in dict.fromkeys(each["shape"] for each in found):
        lines = [
            "\n".join(
                f"{each['bytes'] / 1e6:8.1f}  {each['name']}"
                for each in found
                if (each["shape"], each["direction"]) == (shape, direction)
            )
            for direction in DIRECTIONS
        ]
        grid.add_row(shape, *lines)
    return grid


@click.command(
    epilog="""Examples:

\b
  python -m harmony_parts.benchmarks.local_attention
  python -m harmony_parts.benchmarks.local_attention --device cpu --threads 2 --json local-attention-cpu.json
  python -m harmony_parts.benchmarks.local_attention --device cuda --json local-attention-cuda.json
  python -m harmony_parts.benchmarks.local_attention --quick
"""  # noqa: E501
)
@click.option(
    "--device",
    default="cuda" if torch.cuda.is_available() else "cpu",
    show_default=True,
    help="cpu, cuda or cuda:N.",
)
@click.option(
    "--json",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write all figures to this file.",
)
@click.option("--quick", is_flag=True, help=f"A toy shape, without compiled candidates. {QUICK}")
@click.option(
    "--runs",
    default=40,
    show_default=True,
    type=click.IntRange(2),
    help="Timed runs per candidate.",
)
@click.option("--threads", type=click.IntRange(1), help="CPU threads of torch.  [default: torch's]")
@click.option(
    "--compile/--no-compile",
    "compiled",
    default=True,
    show_default=True,
    help="Include candidates that must be compiled: minutes on a CPU.",
)
def main(
    device: str, file: Path | None, quick: bool, runs: int, threads: int | None, compiled: bool
) -> None:
    """Time local cross-attention, forward and backward, against its alternatives.

    In both directions; on a GPU at the sizes of Wan2.2-5B (704 x 1280; 5 s and 10 s, bfloat16), on
    a CPU at a small one (float32). Results are compared with float64 first; wrong candidates are
    not timed.
    """
    check_overwrite(file, quick)
    if threads:
        torch.set_num_threads(threads)
    where = torch.device(device)
    shapes = [TOY] if quick else [WAN_5S, WAN_10S] if where.type == "cuda" else [SMALL]
    compiled, runs = compiled and not quick, min(runs, 3) if quick else runs
    console = Console()
    size = 2**20 if quick else 2**30 if where.type == "cuda" else 2**28
    bandwidth = copy_bandwidth(where, size, 10)
    about = machine(where)
    console.print(
        f"{about['device']}, torch {about['versions']['torch']}. {NOTE.get(where.type, '')}"
    )
    rows, found = list[Row](), list[dict[str, Any]]()

    def report() -> dict[str, Any]:
        return {
            "benchmark": "local_attention",
            **about,
            "copy_bytes_per_second": bandwidth,
            "shapes": [str(shape) for shape in shapes],
            "rows": [attrs.asdict(row) for row in rows],
            "memory": found,
        }

    for shape in shapes:
        for direction in DIRECTIONS:
            problem = Problem.of(shape, direction, where)
            passed, tried = gate(problem, list(candidates(problem, compiled)))
            rows += timed(problem, passed, tried, runs)
            found += memory(problem, passed)
            if file:  # what is measured is kept if the next one is cut
                write_report({"unfinished": True, **report()}, file, quick)
        console.print(times_table(rows, shape, bandwidth))
    console.print(memory_table(found, where))
    if file:
        write_report(report(), file, quick)
    if any(row.ours and row.fault for row in rows):
        raise click.ClickException(
            "an implementation of this library is wrong: see the table above"
        )


if __name__ == "__main__":
    main()
