"""Time and memory of a denoiser at full token count: `python -m harmony_parts.benchmarks.model`."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import attrs
import click
import torch
from torch import Tensor

from harmony_parts.benchmarks.measure import (
    QUICK,
    Clock,
    check_overwrite,
    machine,
    write_report,
)
from harmony_parts.benchmarks.model_steps import WARM_UP, Model, Result, measure
from harmony_parts.cost.inputs import Inputs
from harmony_parts.errors import HarmonyError
from harmony_parts.layers.precision import float32_products
from harmony_parts.report.text import bytes_text, flops_text
from harmony_parts.strategies.fsdp import FSDP
from harmony_parts.strategies.protocol import Strategy

USABLE = 0.92  # of the free memory; the rest is for workspaces and fragmentation
DEFAULTS = {
    "cuda": ("harmony-5b", "bfloat16"),
    "meta": ("harmony-5b", "bfloat16"),
    "cpu": ("demo", "float32"),
}


def matmul_peak(device: torch.device, dtype: torch.dtype, runs: int = 10) -> float:
    """FLOP/s of a large square matrix product: the best of `runs`."""
    n = 8192 if device.type == "cuda" else 1024
    a: Tensor = torch.randn(n, n, device=device).to(dtype)
    clock = Clock(device)
    return 2 * n**3 / min([clock(lambda: a @ a).seconds for _ in range(runs + WARM_UP)][WARM_UP:])


def run(
    model: Model,
    device: torch.device,
    runs: int,
    peak: float | None,
    strategy: Strategy | None = None,
) -> Iterator[Result]:
    """A pass and a training step, each as deep as fits; only counted if `peak` is None.

    Only the step if a strategy divides the weights, which stay so.
    """
    for count in (model.training,) if strategy else (model.forward, model.training):
        cuda = device.type == "cuda"
        result = model.deepest(
            count, round(USABLE * torch.cuda.mem_get_info(device)[0]) if cuda else None
        )
        yield result if peak is None else measure(model, result, device, runs, peak, strategy)
        if cuda:
            torch.cuda.empty_cache()


def only_process(device: torch.device) -> Strategy:
    """FSDP with one process: weights are gathered, as with many, but not sent."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    one = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}
    before = dict(os.environ)
    os.environ.update(one, MASTER_PORT=port)
    try:
        return FSDP(shards=1).build(device=device)
    finally:  # nothing that follows in this process was launched
        for name in (*one, "MASTER_PORT"):
            os.environ.pop(name)
        os.environ.update(before)


def input_shapes(given: Inputs) -> dict[str, list[int]]:
    """The shapes of latents and conditions by name."""
    latents = {stream: list(given.av[stream].shape) for stream in given.av}
    return latents | {name: list(c.tokens.shape) for name, c in given.conditions.items()}


def result_line(result: Result) -> str:
    """A result on one line."""
    line = (
        f"{result.what}, {result.layers} layers: {flops_text(result.flops)},"
        f" {bytes_text(result.predicted_bytes)} predicted"
    )
    if result.seconds is None or result.of_matmul is None:
        return line
    if result.peak_bytes is not None:
        share = result.peak_bytes / result.predicted_bytes
        line += f", {bytes_text(result.peak_bytes)} measured ({share:.2f}x)"
    s = result.seconds
    rate = flops_text(round(result.flops / s.median))
    return (
        f"{line}; {s.median:.3g} s (median of"
        f" {s.runs}, quartiles {s.low:.3g} to {s.high:.3g}): {rate}/s,"
        f" {result.of_matmul:.0%} of a large matrix product's"
    )


@click.command(
    epilog="""Examples:

\b
  python -m harmony_parts.benchmarks.model
  python -m harmony_parts.benchmarks.model --quick
  python -m harmony_parts.benchmarks.model --device meta --recipe harmony-5b
  python -m harmony_parts.benchmarks.model --device cuda --json out/model.json"""
)
@click.option(
    "--device",
    type=click.Choice(["cuda", "cpu", "meta"]),
    help="Where to run; meta only counts. By default the GPU if there is one.",
)
@click.option(
    "--recipe",
    help=(
        "Recipe of the denoiser. By default harmony-5b, which needs the plugin harmony-diffusers;"
        " on a CPU demo."
    ),
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a setting of the recipe; may be repeated.",
)
@click.option(
    "--layers",
    type=click.IntRange(1),
    help=("Blocks, at most those of the recipe. By default as many as fit, by the counted memory."),
)
@click.option(
    "--dtype",
    type=click.Choice(["float32", "bfloat16"]),
    help="Type of the weights. By default bfloat16, or float32 on a CPU.",
)
@click.option(
    "--mixed",
    is_flag=True,
    help="Products in bfloat16, weights in float32, as with train.precision = bfloat16.",
)
@click.option(
    "--sharded",
    is_flag=True,
    help="A training step with FSDP in one process: the cost of dividing without communication.",
)
@click.option("--tf32", is_flag=True, help="Compute float32 products in TF32 on a GPU.")
@click.option(
    "--steps",
    type=click.IntRange(2),
    default=10,
    show_default=True,
    help="Timed runs of each, after two warm-up runs.",
)
@click.option(
    "--quick",
    is_flag=True,
    help=f"One block and two timed runs, by default of demo. {QUICK}",
)
@click.option(
    "--json",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the results to this file.",
)
def main(
    device: str | None,
    recipe: str | None,
    overrides: tuple[str, ...],
    layers: int | None,
    dtype: str | None,
    mixed: bool,
    sharded: bool,
    tf32: bool,
    steps: int,
    quick: bool,
    file: Path | None,
) -> None:
    """Measure a pass and a training step of a recipe's denoiser.

    One clip at full token count, with random weights: time, FLOP/s, and peak memory against the
    counted one.
    """
    check_overwrite(file, quick)
    if quick:
        recipe, layers, steps = recipe or "demo", layers or 1, 2
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    name, usual = recipe or DEFAULTS[where.type][0], dtype or DEFAULTS[where.type][1]
    if mixed:
        usual = "float32"
    try:
        model = Model(name, overrides, getattr(torch, usual), mixed)
    except HarmonyError as error:
        raise click.ClickException(str(error)) from error
    if layers is not None:
        model.blocks = model.blocks[:layers]
    report: dict[str, Any] = {
        **machine(where),
        "recipe": name,
        "settings": list(overrides),
        "dtype": usual,
        "mixed": mixed,
        "sharded": sharded,
        "tf32": tf32,
        "recompute": getattr(model.denoiser, "recompute", "nothing"),
        "inputs": input_shapes(model.given),
        "matmul_flops_per_second": None,
        "results": [],
    }
    with ExitStack() as stack:
        stack.enter_context(float32_products(tf32=tf32))
        strategy = only_process(where) if sharded else None
        if strategy is not None:
            stack.enter_context(strategy.together())
        peak = None
        if where.type != "meta":
            peak = matmul_peak(where, torch.bfloat16 if mixed else getattr(torch, usual))
        report["matmul_flops_per_second"] = peak
        for result in run(model, where, steps, peak, strategy):
            click.echo(result_line(result))
            report["results"].append(attrs.asdict(result))
            if file is not None:  # what is measured is kept if the next one is cut
                write_report({"unfinished": True, **report}, file, quick)
    if quick:
        click.echo(f"A quick run. {QUICK}")
    if file is not None:
        write_report(report, file, quick)
        click.echo(f"written to {file}")


if __name__ == "__main__":
    main()
