"""What a step of each guidance costs, what the sampler adds to bare calls of the denoiser, and up
to which size passes go together.

On the demo's model with fresh weights (cost doesn't depend on what they are), by the CPU time of
one thread, so that what else the machine does counts little. Rounds take turns, and the least of
each counts.
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
from harmony_parts.av import AV, STREAMS, Prompt, Times
from harmony_parts.benchmarks.measure import QUICK, check_kept, keep
from harmony_parts.codecs.protocol import grid_of
from harmony_parts.cost.account import forward, prepared
from harmony_parts.flow.euler import Euler
from harmony_parts.flow.shift import ConstantShift
from harmony_parts.generate.pipeline import Pipeline
from harmony_parts.guidance.cfg import CFG
from harmony_parts.guidance.modality import Modality
from harmony_parts.guidance.none import NoGuidance
from harmony_parts.guidance.protocol import Guidance, StepTimes
from harmony_parts.guidance.rescale import Rescale
from harmony_parts.guidance.schedule import Schedule
from harmony_parts.guidance.skip_layer import SkipLayer
from harmony_parts.guidance.sum import Sum
from harmony_parts.guidance.sync_cfg import SyncCFG
from harmony_parts.guidance.window import Window
from harmony_parts.sample.pass_graph import first_runs
from harmony_parts.sample.passes import TOGETHER
from harmony_parts.sample.sampler import sample
from harmony_parts.sample.timetable import timetable
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
    """The model, its conditions and latents for `clips` clips of `frames` frames, made in `steps`
    steps.
    """

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
        """The latents, those of the streams `given` unchanged."""
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
        """The same without guidance, by nothing but calls of the denoiser and Euler's sum."""
        x, cache = self.noise, dict[str, Any]()
        for t, t_next in pairwise(timetable(self.steps, ConstantShift(5.0))):
            times = x.map(
                lambda latents: Times.uniform(torch.full((len(latents),), t), latents.shape[1])  # noqa: B023
            )
            x = self.denoiser(x, times, self.conditions, cache=cache).map(
                lambda v, at: at + (t_next - t) * v,  # noqa: B023
                x,
            )
        return x


class Silent:
    """A denoiser that does nothing: what is left is the sampler."""

    def __init__(self, like: Any) -> None:
        self.accepts, self.hints = like.accepts, like.hints

    def __call__(self, av: AV[torch.Tensor], *_: Any, **__: Any) -> AV[torch.Tensor]:
        """The latents."""
        return av


def least(jobs: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """CPU seconds of each job, the least of so many rounds, in which all take turns."""
    best: dict[str, float] = {}
    for _ in range(rounds):
        for name, job in jobs.items():
            began = time.process_time()
            job()
            best[name] = min(best.get(name, float("inf")), time.process_time() - began)
    return best


def passes(guidance: Guidance, denoiser: Any) -> dict[str, float]:
    """Runs of the denoiser in a step of each task, on average over the steps."""
    table, counted = timetable(STEPS, ConstantShift(5.0))[:-1], {}
    for task, given in TASKS.items():
        at = [StepTimes(*(0.0 if s in given else t for s in STREAMS)) for t in table]
        counted[task] = sum(len(first_runs(guidance, denoiser, times)) for times in at) / STEPS
    return counted


def at_size(name: str) -> dict[str, float]:
    """Operations of a joint step of each guidance, of that recipe's model on the meta device."""
    recipe = read_recipe(name)
    parts = build(recipe, empty=("codecs", "encoders", "denoiser"))
    denoiser: Any = parts.denoiser
    denoiser.to("meta", torch.bfloat16)
    cost = cache(partial(forward, denoiser, prepared(parts)))
    found = {}
    for label, guidance in GUIDANCES.items():
        found[label] = 0.0
        for t in timetable(STEPS, ConstantShift(5.0))[:-1]:
            runs = first_runs(guidance, denoiser, StepTimes(t, t))
            found[label] += (
                sum(sum(cost(run.read, run.asked.hints).values()) for run in runs) / STEPS
            )
    return found


def measure(rounds: int, large: str, quick: bool = False) -> dict[str, Any]:
    """The report; `quick`: of a smaller model, shorter clips and few steps, once."""
    torch.set_num_threads(1)
    rounds, large, steps = (1, "", 2) if quick else (rounds, large, STEPS)
    pipeline = Pipeline.assemble(
        read_recipe("demo", ["format.seconds=0.5", "denoiser.layers=2"] if quick else [])
    )
    bench, denoiser = Bench(pipeline, 1, pipeline.format.frames, steps), pipeline.parts.denoiser
    seconds = least({name: lambda g=g: bench.sample(g) for name, g in GUIDANCES.items()}, rounds)  # type: ignore[misc]
    flops = {}
    for name, guidance in GUIDANCES.items():
        with FlopCounterMode(display=False) as counter:
            bench.sample(guidance)
        flops[name] = counter.get_total_flops()
    silent = Bench(pipeline, 1, pipeline.format.frames, steps, Silent(denoiser))
    # Apart, as the difference of two times of the model would drown in their noise.
    over = least(
        {
            "bare": bench.bare,
            "silent": lambda: silent.sample(NoGuidance()),
            "silent_bare": silent.bare,
        },
        8 * rounds,
    )
    sizes = []
    for clips, frames in ((1, 6), (1, 12), (1, 24), (2, 24), (4, 24), (8, 24))[
        : 2 if quick else None
    ]:
        here = Bench(pipeline, clips, frames, steps)
        took = least(
            {"apart": lambda: here.sample(CFG()), "together": lambda: here.sample(CFG(), 10**9)},  # noqa: B023
            rounds,
        )
        sizes.append({"latents": 2 * here.latents, **{way: took[way] / steps for way in took}})
    return {
        "machine": (
            f"{platform.processor() or platform.machine()}, one thread; torch {torch.__version__}"
        ),
        "model": "demo",
        "latents": bench.latents,
        "steps": steps,
        "rounds": rounds,
        "guidances": {
            name: {
                "passes": passes(g, denoiser),
                "seconds": seconds[name] / steps,
                "flops": flops[name] / steps,
            }
            for name, g in GUIDANCES.items()
        },
        "at_size": {"recipe": large, "flops": at_size(large)} if large else {},
        "overhead": {
            "sampler": (over["silent"] - over["silent_bare"]) / steps,
            "bare": over["bare"] / steps,
        },
        "together": {"default": TOGETHER, "sizes": sizes},
    }


def table(report: Mapping[str, Any]) -> str:
    """The costs, as Markdown."""
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
    """Apart and together, as Markdown."""
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
    """What the sampler adds, in words."""
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
    help="Rounds, of which the least time counts.",
)
@click.option(
    "--large",
    default="harmony-5b",
    show_default=True,
    help="Recipe whose arithmetic is counted besides; empty for none.",
)
@click.option(
    "--quick",
    is_flag=True,
    help=f"One round of a smaller model, shorter clips and few steps; no large recipe. {QUICK}",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the report there, as JSON.",
)
def main(rounds: int, large: str, quick: bool, out: Path | None) -> None:
    """Measure what guidance and the sampler cost on this machine."""
    check_kept(out, quick)
    report = measure(rounds, large, quick)
    click.echo(f"{table(report)}\n\n{sizes(report)}\n\n{overhead(report)}")
    if quick:
        click.echo(f"\nA quick run. {QUICK}")
    if out is not None:
        keep(report, out, quick)


if __name__ == "__main__":
    main()
