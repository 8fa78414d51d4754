"""`make demo`: train a small Harmony with cross-task training, make clips in all three tasks with
one set of weights, and measure their sync.
"""

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
from harmony_parts.demo.page import write_page
from harmony_parts.demo.table import COLUMNS, table_rows
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

"""The tasks, and the stream that is given in each."""
HELD_OUT = 1_000_000  # added to the data's seed: a world that training never saw
SHOWN = 3  # clips of each kind that are written as files: one of each scene
ENLARGED = 12  # times, by whole pixels, for players


@attrs.frozen(eq=False)
class Made:
    """The clips of one task under one guidance, and what the metric says of them."""

    task: str
    guidance: str
    clips: list[Clip]
    numbers: dict[str, Any]
    seconds: float


def demo(
    out: Path,
    seed: int = 0,
    clips: int = 36,
    overrides: Sequence[str] = (),
    console: Console | None = None,
) -> dict[str, Any]:
    """Run the whole of it into the folder `out`, and return the report, which is also
    `out`/report.json.

    A finished run of the same recipe in `out`/run is used again; an unfinished one is resumed.
    Raises RunError where `out` holds another one. It runs on one thread: with tensors this small a
    second one gains a third on an idle machine and loses much more on a busy one, and so the same
    seed gives the same clips whatever the number of cores.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _demo(Path(out), seed, clips, overrides, console or terminal())
    finally:
        torch.set_num_threads(threads)


def _demo(
    out: Path, seed: int, clips: int, overrides: Sequence[str], console: Console
) -> dict[str, Any]:
    recipe = read_recipe("demo", (f"train.seed={seed}", *overrides))
    begun = time.monotonic()
    pipeline = _trained(recipe, out / "run", console)
    trained = time.monotonic() - begun
    examples = _held_out(recipe, clips)
    metric, truths = recipe.metrics[0].build(), [example.events or () for example in examples]
    truth = compare(metric, [example.clip for example in examples], truths)
    made = _make_all(pipeline, examples, metric, seed, console)
    files = _write_clips(out, examples, made)
    sheet = contact_sheet(
        _rows(metric, examples, made),
        out / "sheet.png",
        heading="Soundstage, and what one small Harmony makes of it",
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
            for m in made
        ],
    }
    (out / "report.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    page = write_page(out, report, files)
    _print(console, report, [sheet, out / "report.json", page])
    return report


def _trained(recipe: Recipe, run: Path, console: Console) -> Pipeline:
    """The trained model of `run`: as it is where it is finished, else trained, from its last
    checkpoint on where there is one.
    """
    if (run / "model").is_dir():
        pipeline = load(run)
        if pipeline.recipe != recipe:
            raise RunError(
                f"{run}: holds a model of another recipe or seed; choose another --out, or"
                " remove it"
            )
        console.print(f"using the model in {run}")
        return pipeline
    resume = (run / "recipe.toml").is_file()
    console.print(f"{'resuming' if resume else 'training'} {recipe.name}: {recipe.summary}")
    train(recipe, out=run, resume=resume)
    return load(run)


def _held_out(recipe: Recipe, clips: int) -> list[Example]:
    """Examples of a world that training never saw, without reference image and sound: captions
    alone.
    """
    if not isinstance(recipe.data, Soundstage):
        raise RunError(
            "the demo measures against the truth, which only soundstage knows; its recipe's data"
            f" is {recipe.data!r}"
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


def _make_all(
    pipeline: Pipeline, examples: Sequence[Example], metric: Metric, seed: int, console: Console
) -> list[Made]:
    """Every task, plain and with the recipe's guidance, from the same noise."""
    latents = pipeline.encode([example.clip for example in examples])
    guidances: dict[str, Guidance] = {
        "none": NoGuidance(),
        "sync-cfg": pipeline.recipe.sample.guidance,
    }
    made = []
    for task, given in TASKS.items():
        for name, guidance in guidances.items():
            begun = time.monotonic()
            with progress(f"{task}, guidance {name}") as bar:
                clips = _make(pipeline, examples, latents.only(given), guidance, seed, bar)
            took = time.monotonic() - begun
            console.print(f"made {len(clips)} clips, {task}, guidance {name}, in {duration(took)}")
            truths = [example.events or () for example in examples] if given else None
            numbers = compare(metric, clips, truths)
            made.append(
                Made(task, name, clips, {name: n.json() for name, n in numbers.items()}, took)
            )
    return made


def _make(
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
    # what was given is kept as it is, not as the codec has it
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
    out: Path, examples: Sequence[Example], made: Sequence[Made]
) -> dict[str, list[str]]:
    """mp4 files of the first clips of each kind, enlarged by whole pixels; their names by kind."""
    (out / "clips").mkdir(parents=True, exist_ok=True)
    kinds = {"truth": [example.clip for example in examples]} | {
        f"{m.task}, {m.guidance}": m.clips for m in made
    }
    files: dict[str, list[str]] = {}
    for kind, clips in kinds.items():
        for number, clip in enumerate(clips[:SHOWN]):
            assert clip.frames is not None
            large = clip.frames.repeat_interleave(ENLARGED, 1).repeat_interleave(ENLARGED, 2)
            path = out / "clips" / f"{kind.replace(', ', '-')}-{number}.mp4"
            attrs.evolve(clip, frames=large).save(path)
            files.setdefault(kind, []).append(path.relative_to(out).as_posix())
    return files


def _rows(metric: Metric, examples: Sequence[Example], made: Sequence[Made]) -> list[Row]:
    """The sheet's rows: the truth of each scene, then one clip of each kind, the scenes in turn."""
    rows = [
        Row(f"truth: {e.prompt.caption}; {e.prompt.sound}", e.clip, metric.analyse(e.clip))
        for e in examples[:SHOWN]
    ]
    for number, m in enumerate(made):
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
        title=(
            f"Sync of {report['clips']} clips each; in brackets the same clips re-paired (chance)"
        ),
        title_justify="left",
    )
    for heading in ("task", "guidance", *COLUMNS.values()):
        table.add_column(heading, justify="left" if heading in ("task", "guidance") else "right")
    for row in table_rows(report):
        table.add_row(*row)
    console.print(table)
    console.print(
        f"Training took {report['seconds']['training']:.0f} s, all of it"
        f" {report['seconds']['all']:.0f} s. Look and listen:"
    )
    for path in paths:
        console.print(f"  {path}")
