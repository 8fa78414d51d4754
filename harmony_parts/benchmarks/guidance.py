"""Cost of each guidance, overhead of the sampler, and the batch size up to which batching pays off.

Measured on the demo's model with fresh weights, which cost the same as trained ones, as CPU time of
one thread, which depends little on other load. Jobs are interleaved; the minimum of each counts.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import torch
from torch.utils.flop_counter import FlopCounterMode

from harmony_parts.assembly.build import build
from harmony_parts.assembly.read import read_recipe
from harmony_parts.av import AV, Prompt, Times
from harmony_parts.benchmarks.measure import QUICK, check_overwrite, write_report
from harmony_parts.codecs.protocol import grid_of
from harmony_parts.cost.anchors import anchor_work
from harmony_parts.cost.count import count_forward, prepared_inputs
from harmony_parts.flow.euler import Euler
from harmony_parts.flow.shift import ConstantShift
from harmony_parts.generate.pipeline import Pipeline
from harmony_parts.guidance.cfg import CFG
from harmony_parts.guidance.modality import Modality
from harmony_parts.guidance.none import NoGuidance
from harmony_parts.guidance.protocol import Guidance
from harmony_parts.guidance.rescale import Rescale
from harmony_parts.guidance.schedule import Schedule
from harmony_parts.guidance.skip_layer import SkipLayer
from harmony_parts.guidance.sum import Sum
from harmony_parts.guidance.sync_cfg import SyncCFG
from harmony_parts.guidance.window import Window
from harmony_parts.sample.pass_graph import first_runs
from harmony_parts.sample.passes import TOGETHER
from harmony_parts.sample.sampler import sample
from harmony_parts.sample.timetable import step_times, timetable
from harmony_parts.tasks.protocol import TASKS

GUIDANCES: dict[str, Guidance] = {
    "none": NoGuidance(),
    "cfg": CFG(),
    "sync-cfg": SyncCFG(),
    "cfg + sync-cfg": Sum((CFG(), SyncCFG())),
    "modality": Modality(),
    "skip-layer": SkipLayer(layer=1),
    "cfg-rescale(cfg)": Rescale(CFG()),
    "schedule(cfg)": Schedule(CFG()),
    "window(cfg + sync-cfg)": Window(Sum((CFG(), SyncCFG()))),
}
PROMPT = Prompt(caption="a red ball bounces on the ground", sound="a ball bounces")
STEPS = 8


class Bench:
    """The model, with conditions and noise for `clips` clips of `frames` frames."""

    def __init__(
        self, pipeline: Pipeline, clips: int, frames: int, steps: int, denoiser: Any = None
    ) -> None:
        video, audio = pipeline.codecs["video"], pipeline.codecs["audio"]
        random = torch.Generator().manual_seed(0)
        self.noise = AV(
            torch.randn(
                clips, video.latents(frames), *grid_of(video), video.channels, generator=random
            ),
            torch.randn(
                clips,
                audio.latents(pipeline.format.samples(frames)),
                audio.channels,
                generator=random,
            ),
        )
        self.denoiser = denoiser or pipeline.parts.denoiser
        self.steps, self.pipeline, self.conditions = (
            steps,
            pipeline,
            pipeline.conditions([PROMPT] * clips),
        )
        self.latents = sum(self.noise[s][..., 0].numel() for s in self.noise)

    def sample(
        self, guidance: Guidance, together: int = 0, given: tuple[str, ...] = ()
    ) -> AV[torch.Tensor]:
        """Sampled latents; those of the streams in `given` are returned unchanged."""
        p = self.pipeline
        return sample(
            self.denoiser,
            self.noise.only([s for s in self.noise if s not in given]),
            self.conditions,
            codecs=p.codecs,
            given=self.noise.only(given),
            guidance=guidance,
            solver=Euler(),
            shift=ConstantShift(5.0),
            path=p.recipe.flow.path,
            steps=self.steps,
            together=together,
        )

    @torch.no_grad()
    def bare(self) -> AV[torch.Tensor]:
        """Sampled latents without guidance or sampler: only denoiser calls and Euler updates."""
        x, cache = self.noise, dict[str, Any]()
        for now, later in pairwise(timetable(self.steps, ConstantShift(5.0))):
            times = x.map(
                lambda latents, t: Times.uniform(torch.full((len(latents),), t), latents.shape[1]),
                now,
            )
            x = self.denoiser(x, times, self.conditions, cache=cache).map(
                lambda v, at, t, t_next: at + (t_next - t) * v, x, now, later
            )
        return x


class NoOpDenoiser:
    """A denoiser that computes nothing, so that only the sampler's time remains."""

    def __init__(self, like: Any) -> None:
        self.accepts, self.hints, self.blocks = like.accepts, like.hints, ()

    def __call__(self, av: AV[torch.Tensor], *_: Any, **__: Any) -> AV[torch.Tensor]:
        """The latents as they are."""
        return av


def least_seconds(jobs: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Least CPU seconds of each job over interleaved rounds."""
    best: dict[str, float] = {}
    for _ in range(rounds):
        for name, job in jobs.items():
            began = time.process_time()
            job()
            best[name] = min(best.get(name, float("inf")), time.process_time() - began)
    return best


def passes_per_step(guidance: Guidance, denoiser: Any) -> dict[str, float]:
    """Denoiser runs per step in each task, averaged over the steps."""
    counted = {}
    for task, given in TASKS.items():
        at = step_times(STEPS, ConstantShift(5.0), given=given)
        counted[task] = sum(len(first_runs(guidance, denoiser, times)) for times in at) / STEPS
    return counted


def flops_at_size(name: str) -> dict[str, float]:
    """FLOPs of a joint step with each guidance, for a recipe's model on the meta device.

    They include the codecs' work for anchors, without a reference image.
    """
    recipe = read_recipe(name)
    parts = build(recipe, empty=("codecs", "encoders", "denoiser"))
    denoiser: Any = parts.denoiser
    denoiser.to("meta", torch.bfloat16)
    inputs, results = prepared_inputs(parts), dict[Any, Any]()
    cost = cache(partial(count_forward, denoiser, inputs))
    found = {}
    for label, guidance in GUIDANCES.items():
        found[label] = 0.0
        for times in step_times(STEPS, ConstantShift(5.0)):
            runs = first_runs(guidance, denoiser, times)
            found[label] += (
                sum(sum(cost(run.read, run.request.hints).values()) for run in runs) / STEPS
            )
            anchors = anchor_work(
                runs,
                parts.codecs,
                inputs.av,
                inputs.conditions,
                given=(),
                steps=1,
                velocities=1,
                results=results,
            )
            found[label] += anchors.flops / STEPS
    return found


def measure(rounds: int, large: str, quick: bool = False) -> dict[str, Any]:
    """The report; `quick`: a smaller model, shorter clips, few steps and one round."""
    torch.set_num_threads(1)
    rounds, large, steps = (1, "", 2) if quick else (rounds, large, STEPS)
    pipeline = Pipeline.assemble(
        read_recipe("demo", ["format.seconds=0.5", "denoiser.layers=2"] if quick else [])
    )
    bench = Bench(pipeline, 1, pipeline.format.frames, steps)
    return {
        "machine": (
            f"{platform.processor() or platform.machine()}, one thread; torch {torch.__version__}"
        ),
        "model": "demo",
        "latents": bench.latents,
        "steps": steps,
        "rounds": rounds,
        "guidances": guidance_costs(bench, rounds),
        "at_size": {"recipe": large, "flops": flops_at_size(large)} if large else {},
        "overhead": sampler_overhead(bench, 8 * rounds),
        "together": {"default": TOGETHER, "sizes": batching(pipeline, steps, rounds, quick)},
    }


def guidance_costs(bench: Bench, rounds: int) -> dict[str, dict[str, Any]]:
    """Passes, CPU seconds and FLOPs of a step with each guidance."""
    jobs = {name: partial(bench.sample, guidance) for name, guidance in GUIDANCES.items()}
    seconds, costs = least_seconds(jobs, rounds), {}
    for name, guidance in GUIDANCES.items():
        with FlopCounterMode(display=False) as counter:
            bench.sample(guidance)
        costs[name] = {
            "passes": passes_per_step(guidance, bench.denoiser),
            "seconds": seconds[name] / bench.steps,
            "flops": counter.get_total_flops() / bench.steps,
        }
    return costs


def sampler_overhead(bench: Bench, rounds: int) -> dict[str, float]:
    """CPU seconds per step: of the sampler without the denoiser, and of a bare denoiser call.

    With a no-op denoiser, because a difference of two times of the model would drown in noise.
    """
    frames = bench.pipeline.format.frames
    idle = Bench(bench.pipeline, 1, frames, bench.steps, NoOpDenoiser(bench.denoiser))
    seconds = least_seconds(
        {
            "bare": bench.bare,
            "idle": partial(idle.sample, NoGuidance()),
            "idle_bare": idle.bare,
        },
        rounds,
    )
    return {
        "sampler": (seconds["idle"] - seconds["idle_bare"]) / bench.steps,
        "bare": seconds["bare"] / bench.steps,
    }


def batching(pipeline: Pipeline, steps: int, rounds: int, quick: bool) -> list[dict[str, float]]:
    """CPU seconds of a CFG step with separate and with batched passes, by number of latents."""
    shapes = ((1, 6), (1, 12), (1, 24), (2, 24), (4, 24), (8, 24))
    sizes = []
    for clips, frames in shapes[: 2 if quick else None]:
        bench = Bench(pipeline, clips, frames, steps)
        seconds = least_seconds(
            {
                "apart": partial(bench.sample, CFG()),
                "together": partial(bench.sample, CFG(), 10**9),
            },
            rounds,
        )
        sizes.append(
            {"latents": 2 * bench.latents, **{way: seconds[way] / steps for way in seconds}}
        )
    return sizes


def table(report: Mapping[str, Any]) -> str:
    """The costs as a Markdown table."""
    plain, large = report["guidances"]["none"], report["at_size"].get("flops", {})
    lines = [
        (
            "| guidance | passes: joint | audio-driven | video-driven | time, joint | arithmetic,"
            " joint | at real size, PFLOP |"
        ),
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in report["guidances"].items():
        counted = " | ".join(f"{row['passes'][task]:.3g}" for task in TASKS)
        share = f"{row['seconds'] / plain['seconds']:.2f} | {row['flops'] / plain['flops']:.2f}"
        at = f"{large[name] / 1e15:.2f} ({large[name] / large['none']:.2f})" if large else "-"
        lines.append(f"| {name} | {counted} | {share} | {at} |")
    return "\n".join(lines)


def sizes(report: Mapping[str, Any]) -> str:
    """Separate and batched passes as a Markdown table."""
    lines = [
        "| latents of both passes | apart, ms a step | together, ms a step | ratio |",
        "|---|---|---|---|",
    ]
    for row in report["together"]["sizes"]:
        apart, together = row["apart"], row["together"]
        lines.append(
            f"| {row['latents']} | {apart * 1e3:.1f} | {together * 1e3:.1f} |"
            f" {together / apart:.2f} |"
        )
    return "\n".join(lines)


def overhead(report: Mapping[str, Any]) -> str:
    """The overhead of the sampler as a sentence."""
    added, bare = report["overhead"]["sampler"], report["overhead"]["bare"]
    return (
        f"The sampler adds {added * 1e6:.0f} µs to a bare call of {bare * 1e3:.1f} ms:"
        f" {100 * added / bare:.1f} %."
    )


@click.command()
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    default=7,
    show_default=True,
    help="Rounds; the least time of each job counts.",
)
@click.option(
    "--large",
    default="harmony-5b",
    show_default=True,
    help="Also count FLOPs of this recipe; empty for none.",
)
@click.option(
    "--quick",
    is_flag=True,
    help=f"One round of a smaller model, shorter clips and few steps; no large recipe. {QUICK}",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the report to this JSON file.",
)
def main(rounds: int, large: str, quick: bool, out: Path | None) -> None:
    """Measure the cost of guidance and of the sampler on this machine."""
    check_overwrite(out, quick)
    report = measure(rounds, large, quick)
    click.echo(f"{table(report)}\n\n{sizes(report)}\n\n{overhead(report)}")
    if quick:
        click.echo(f"\nA quick run. {QUICK}")
    if out is not None:
        write_report(report, out, quick)


if __name__ == "__main__":
    main()
