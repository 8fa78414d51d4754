"""Time and memory of a denoiser at full token count: `python -m harmony_parts.benchmarks.model`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import attrs
import click
import torch
from torch import Tensor, nn

from harmony_parts.assembly.build import build
from harmony_parts.assembly.read import read_recipe
from harmony_parts.benchmarks.measure import (
    QUICK,
    Clock,
    Times,
    check_overwrite,
    machine,
    write_report,
)
from harmony_parts.cost.count import (
    count_activations,
    count_forward,
    existing_tensors,
    prepared_inputs,
)
from harmony_parts.cost.flops import counted
from harmony_parts.cost.inputs import Inputs
from harmony_parts.cost.memory import Live
from harmony_parts.errors import HarmonyError
from harmony_parts.layers.precision import float32_products
from harmony_parts.report.text import bytes_text, flops_text

WARM_UP = 2
USABLE = 0.92  # of the free memory; the rest is for workspaces and fragmentation
DEFAULTS = {
    "cuda": ("harmony-5b", "bfloat16"),
    "meta": ("harmony-5b", "bfloat16"),
    "cpu": ("demo", "float32"),
}


@attrs.frozen
class Result:
    """Counted FLOPs and bytes of `what`, a pass or a training step; measurements if it was run."""

    what: str
    layers: int
    flops: int
    predicted_bytes: int
    peak_bytes: int | None = None
    seconds: Times | None = None
    host_seconds: Times | None = None  # until the host had started it
    of_matmul: float | None = None  # FLOP/s relative to a large matrix product


class Model:
    """A denoiser on the meta device, to be counted or run at any depth."""

    def __init__(self, recipe: str, overrides: tuple[str, ...], dtype: torch.dtype) -> None:
        self.recipe = read_recipe(recipe, overrides)
        parts = build(self.recipe, empty=("codecs", "encoders", "denoiser"))
        self.denoiser = cast(Any, parts.denoiser)
        self.blocks = self.denoiser.blocks
        if not isinstance(self.blocks, nn.ModuleList):
            raise HarmonyError(
                f"{recipe}: the denoiser's blocks aren't an nn.ModuleList, so its depth can't be"
                " changed; choose a recipe whose denoiser is made of such blocks"
            )
        self.denoiser.to(dtype)
        self.given = prepared_inputs(parts)

    def at(self, layers: int) -> nn.Module:
        """The denoiser with only its first `layers` blocks."""
        self.denoiser.blocks = self.blocks[:layers]
        return cast(nn.Module, self.denoiser)

    def forward(self, layers: int) -> Result:
        """Count a pass: weights, inputs and activations."""
        model = self.at(layers)
        steps = count_forward(model, self.given, tuple(self.given.av), frozenset())
        return Result(
            "forward",
            layers,
            steps.total(),
            _bytes(model, self.given) + count_activations(model, self.given),
        )

    def training(self, layers: int) -> Result:
        """Count a training step: weights, AdamW's moments, inputs, activations and gradients."""
        model = self.at(layers)
        with counted(model) as steps, Live(existing_tensors(model, self.given)) as live:
            loss(model, self.given).backward()
        model.zero_grad()
        moments = 2 * sum(x.numel() * x.element_size() for x in model.parameters())
        return Result(
            "training step", layers, steps.total(), _bytes(model, self.given) + moments + live.peak
        )

    def deepest(self, count: Callable[[int], Result], free: int | None) -> Result:
        """The counted result at the greatest depth that fits into `free` bytes.

        Relies on memory growing at least linearly with depth.
        """
        whole = count(len(self.blocks))
        if free is None or whole.predicted_bytes <= free or whole.layers < 3:
            return whole
        shallow = count(2)
        each = (whole.predicted_bytes - shallow.predicted_bytes) / (whole.layers - 2)
        return count(max(1, int(2 + (free - shallow.predicted_bytes) // each)))


def loss(denoiser: nn.Module, given: Inputs) -> Tensor:
    """The mean square of all velocities."""
    velocity = denoiser(given.av, given.times, given.conditions)
    return torch.stack([velocity[stream].float().square().mean() for stream in velocity]).sum()


def _bytes(model: nn.Module, given: Inputs) -> int:
    """Bytes of weights and inputs."""
    return sum(x.untyped_storage().nbytes() for x in existing_tensors(model, given))


def measure(
    model: Model, predicted: Result, device: torch.device, runs: int, peak: float
) -> Result:
    """The result with measured time and bytes, from random weights and inputs on the device."""
    generator = torch.Generator().manual_seed(0)
    denoiser = model.at(predicted.layers).to_empty(device=device)
    with torch.no_grad():
        for parameter in denoiser.parameters():
            parameter.normal_(std=0.02)
    given = model.given.random(device, generator)
    train = predicted.what != "forward"
    optimizer = torch.optim.AdamW(denoiser.parameters(), lr=1e-6, fused=True) if train else None

    def step() -> None:
        if optimizer is None:
            with torch.no_grad():
                denoiser(given.av, given.times, given.conditions)
            return
        loss(denoiser, given).backward()
        optimizer.step()
        optimizer.zero_grad()

    clock = Clock(device)
    for _ in range(WARM_UP):
        step()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    timed = [clock(step) for _ in range(runs)]
    if device.type == "cuda":
        used = torch.cuda.max_memory_allocated(device) - clock.flush.nbytes
    else:  # CPU allocators report no peak: track live tensors in one more run
        moments = (
            [x for state in optimizer.state.values() for x in state.values()] if optimizer else []
        )
        with Live([*existing_tensors(denoiser, given), *moments]) as live:
            step()
        used = _bytes(denoiser, given) + sum(x.nbytes for x in moments) + live.peak
    denoiser.to("meta")
    times = Times.of([one.seconds for one in timed])
    return attrs.evolve(
        predicted,
        peak_bytes=used,
        seconds=times,
        host_seconds=Times.of([one.host for one in timed]),
        of_matmul=predicted.flops / times.median / peak,
    )


def matmul_peak(device: torch.device, dtype: torch.dtype, runs: int = 10) -> float:
    """FLOP/s of a large square matrix product: the best of `runs`."""
    n = 8192 if device.type == "cuda" else 1024
    a: Tensor = torch.randn(n, n, device=device).to(dtype)
    clock = Clock(device)
    return 2 * n**3 / min([clock(lambda: a @ a).seconds for _ in range(runs + WARM_UP)][WARM_UP:])


def run(model: Model, device: torch.device, runs: int, peak: float | None) -> Iterator[Result]:
    """A pass and a training step, each as deep as fits; only counted if `peak` is None."""
    for count in (model.forward, model.training):
        cuda = device.type == "cuda"
        result = model.deepest(
            count, round(USABLE * torch.cuda.mem_get_info(device)[0]) if cuda else None
        )
        yield result if peak is None else measure(model, result, device, runs, peak)
        if cuda:
            torch.cuda.empty_cache()


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
    if result.seconds is None or result.peak_bytes is None or result.of_matmul is None:
        return line
    s = result.seconds
    rate = flops_text(round(result.flops / s.median))
    return (
        f"{line}, {bytes_text(result.peak_bytes)} measured"
        f" ({result.peak_bytes / result.predicted_bytes:.2f}x); {s.median:.3g} s (median of"
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
    try:
        model = Model(name, overrides, getattr(torch, usual))
    except HarmonyError as error:
        raise click.ClickException(str(error)) from error
    if layers is not None:
        model.blocks = model.blocks[:layers]
    results = []
    with float32_products(tf32=tf32):
        peak = None if where.type == "meta" else matmul_peak(where, getattr(torch, usual))
        for result in run(model, where, steps, peak):
            click.echo(result_line(result))
            results.append(attrs.asdict(result))
    report = {
        **machine(where),
        "recipe": name,
        "settings": list(overrides),
        "dtype": usual,
        "tf32": tf32,
        "recompute": getattr(model.denoiser, "recompute", "nothing"),
        "inputs": input_shapes(model.given),
        "matmul_flops_per_second": peak,
        "results": results,
    }
    if quick:
        click.echo(f"A quick run. {QUICK}")
    if file is not None:
        write_report(report, file, quick)
        click.echo(f"written to {file}")


if __name__ == "__main__":
    main()
