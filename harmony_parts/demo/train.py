"""The demo that trains: a small Harmony, its clips in all three tasks, and their sync."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from harmony_parts.assembly.read import read_recipe
from harmony_parts.assembly.recipe import Recipe
from harmony_parts.av import AV
from harmony_parts.data.protocol import Example
from harmony_parts.data.soundstage import Soundstage
from harmony_parts.demo.make import enlarged, one_thread
from harmony_parts.demo.train_page import write_page
from harmony_parts.demo.train_table import COLUMNS, table_rows
from harmony_parts.errors import RunError
from harmony_parts.generate.load import load
from harmony_parts.generate.pipeline import Pipeline
from harmony_parts.guidance.none import NoGuidance
from harmony_parts.guidance.protocol import Guidance
from harmony_parts.media.clip import Clip
from harmony_parts.metrics.compare import compare
from harmony_parts.metrics.protocol import Metric
from harmony_parts.report.contact_sheet import Row, contact_sheet
from harmony_parts.report.progress import console as terminal
from harmony_parts.report.progress import progress
from harmony_parts.report.text import duration
from harmony_parts.tasks.protocol import TASKS
from harmony_parts.train.loop import train

HELD_OUT = 1_000_000  # added to the data's seed, for scenes that training never saw
SHOWN = 3  # clips of each kind that are written to files: one of each scene
ENLARGED = 12  # pixels on each side of an enlarged pixel, for players


@attrs.frozen(eq=False)
class TaskClips:
    """The clips of one task with one guidance, and their metric's numbers."""

    task: str
    guidance: str
    clips: list[Clip]
    numbers: dict[str, Any]
    seconds: float


def train_demo(
    out: Path,
    seed: int = 0,
    clips: int = 36,
    overrides: Sequence[str] = (),
    console: Console | None = None,
) -> dict[str, Any]:
    """Run the demo into the folder `out` and return its report, which is also `out`/report.json.

    A finished run of the same recipe in `out`/run is reused, an unfinished one is resumed. It runs
    on one thread, so the same seed gives the same clips on any number of cores. Raises RunError if
    `out` has a run of another recipe.
    """
    with one_thread():
        return _run(Path(out), seed, clips, overrides, console or terminal())


def _run(
    out: Path, seed: int, clips: int, overrides: Sequence[str], console: Console
) -> dict[str, Any]:
    recipe = read_recipe("demo", (f"train.seed={seed}", *overrides))
    begun = time.monotonic()
    pipeline = _trained(recipe, out / "run", console)
    trained = time.monotonic() - begun
    examples = _held_out(recipe, clips)
    metric, truths = recipe.metrics[0].build(), [example.events or () for example in examples]
    truth = compare(metric, [example.clip for example in examples], truths)
    results = _generate_all(pipeline, examples, metric, seed, console)
    files = _write_clips(out, examples, results)
    sheet = contact_sheet(
        _rows(metric, examples, results),
        out / "sheet.png",
        heading="Soundstage, and the clips of one small Harmony",
    )
    report = {
        "recipe": recipe.name,
        "seed": seed,
        "steps": recipe.train.steps,
        "clips": clips,
        "parameters": sum(p.numel() for p in pipeline.weights.parameters()),
        "seconds": {"training": trained, "all": time.monotonic() - begun},
        "prompts": [f"{e.prompt.caption}; {e.prompt.sound}" for e in examples[:SHOWN]],
        "truth": {name: number.json() for name, number in truth.items()},
        "made": [
            {"task": m.task, "guidance": m.guidance, "seconds": m.seconds, "numbers": m.numbers}
            for m in results
        ],
    }
    (out / "report.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    page = write_page(out, report, files)
    _print(console, report, [sheet, out / "report.json", page])
    return report


def _trained(recipe: Recipe, run: Path, console: Console) -> Pipeline:
    """The model of the run folder: loaded if it is finished, else trained or resumed."""
    if (run / "model").is_dir():
        pipeline = load(run)
        if pipeline.recipe != recipe:
            raise RunError(
                f"{run}: has a model of another recipe or seed; choose another --out, or remove it"
            )
        console.print(f"using the model in {run}")
        return pipeline
    resume = (run / "recipe.toml").is_file()
    console.print(f"{'resuming' if resume else 'training'} {recipe.name}: {recipe.summary}")
    train(recipe, out=run, resume=resume)
    return load(run)


def _held_out(recipe: Recipe, clips: int) -> list[Example]:
    """Examples that training never saw, with captions and without reference image and sound."""
    if not isinstance(recipe.data, Soundstage):
        raise RunError(
            "the demo compares with true events, which only soundstage has; set data to it in place"
            f" of {recipe.data!r}"
        )
    data = attrs.evolve(recipe.data, seed=recipe.data.seed + HELD_OUT, size=clips).build(
        format=recipe.format
    )
    examples = [
        data.example(number, torch.Generator().manual_seed(number)) for number in range(clips)
    ]
    return [
        attrs.evolve(e, prompt=attrs.evolve(e.prompt, image=None, voice=None)) for e in examples
    ]


def _generate_all(
    pipeline: Pipeline, examples: Sequence[Example], metric: Metric, seed: int, console: Console
) -> list[TaskClips]:
    """The clips of every task, without and with the recipe's guidance, from the same noise."""
    latents = pipeline.encode([example.clip for example in examples])
    guidances: dict[str, Guidance] = {
        "none": NoGuidance(),
        "sync-cfg": pipeline.recipe.sample.guidance,
    }
    results = []
    for task, given in TASKS.items():
        for name, guidance in guidances.items():
            begun = time.monotonic()
            with progress(f"{task}, guidance {name}") as bar:
                clips = _generate(pipeline, examples, latents.only(given), guidance, seed, bar)
            took = time.monotonic() - begun
            console.print(f"{len(clips)} clips, {task}, guidance {name}: {duration(took)}")
            truths = [example.events or () for example in examples] if given else None
            numbers = compare(metric, clips, truths)
            results.append(
                TaskClips(task, name, clips, {name: n.json() for name, n in numbers.items()}, took)
            )
    return results


def _generate(
    pipeline: Pipeline,
    examples: Sequence[Example],
    given: AV[Tensor],
    guidance: Guidance,
    seed: int,
    bar: Callable[[int, int], None],
) -> list[Clip]:
    prompts, seeds = (
        [e.prompt for e in examples],
        [seed * HELD_OUT + number for number in range(len(examples))],
    )
    latents = pipeline.latents(
        prompts,
        seeds=seeds,
        given=given,
        guidance=guidance,
        progress=lambda step: bar(step.done, step.steps),
    )
    clips = pipeline.decode(latents, pipeline.format.frames)
    # the given stream itself, not the codec's reconstruction
    if given.video is not None:
        clips = [
            attrs.evolve(clip, frames=example.clip.frames) for clip, example in zip(clips, examples)
        ]
    if given.audio is not None:
        clips = [
            attrs.evolve(clip, waveform=example.clip.waveform)
            for clip, example in zip(clips, examples)
        ]
    return clips


def _write_clips(
    out: Path, examples: Sequence[Example], results: Sequence[TaskClips]
) -> dict[str, list[str]]:
    """Write the first clips of each kind as mp4, enlarged; returns the file names by kind."""
    (out / "clips").mkdir(parents=True, exist_ok=True)
    kinds = {"truth": [example.clip for example in examples]} | {
        f"{m.task}, {m.guidance}": m.clips for m in results
    }
    files: dict[str, list[str]] = {}
    for kind, clips in kinds.items():
        for number, clip in enumerate(clips[:SHOWN]):
            path = out / "clips" / f"{kind.replace(', ', '-')}-{number}.mp4"
            enlarged(clip, ENLARGED).save(path)
            files.setdefault(kind, []).append(path.relative_to(out).as_posix())
    return files


def _rows(metric: Metric, examples: Sequence[Example], results: Sequence[TaskClips]) -> list[Row]:
    """The rows of the contact sheet: the true scenes, then one clip of each kind."""
    rows = [
        Row(f"truth: {e.prompt.caption}; {e.prompt.sound}", e.clip, metric.analyse(e.clip))
        for e in examples[:SHOWN]
    ]
    for number, m in enumerate(results):
        which = number // 2 % SHOWN
        clip, prompt = m.clips[which], examples[which].prompt
        rows.append(
            Row(
                f"{m.task}, guidance {m.guidance}: {prompt.caption}; {prompt.sound}",
                clip,
                metric.analyse(clip),
            )
        )
    return rows


def _print(console: Console, report: dict[str, Any], paths: Sequence[Path]) -> None:
    table = Table(
        title=(f"Sync of {report['clips']} clips each; in brackets: the clips re-paired (chance)"),
        title_justify="left",
    )
    for heading in ("task", "guidance", *COLUMNS.values()):
        table.add_column(heading, justify="left" if heading in ("task", "guidance") else "right")
    for row in table_rows(report):
        table.add_row(*row)
    console.print(table)
    console.print(
        f"Training took {report['seconds']['training']:.0f} s, the whole demo"
        f" {report['seconds']['all']:.0f} s. Look and listen:"
    )
    for path in paths:
        console.print(f"  {path}")
