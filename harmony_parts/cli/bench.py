"""`harmony bench`: scores of a model, or of a folder of clips, or of two side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harmony_parts.cli.command import Command
from harmony_parts.cli.completion import guidances, metrics, models
from harmony_parts.cli.options import (
    RequestField,
    device_option,
    dtype_option,
    offload_for,
    offload_option,
    tf32_option,
    torch_dtype,
    usage_errors,
)
from harmony_parts.errors import RunError
from harmony_parts.generate.request import Request
from harmony_parts.report.text import quantity

if TYPE_CHECKING:
    from harmony_parts.assembly.recipe import Recipe
    from harmony_parts.bench.cases import Case
    from harmony_parts.bench.scores import Scores
    from harmony_parts.generate.pipeline import Pipeline
    from harmony_parts.guidance.protocol import Guidance

QUICK = 12  # cases of each set
DRIVEN = 2  # the first half of the cases are enough for driven tasks, where less is left to chance


@click.command(
    cls=Command,
    short_help="Score a model, or a folder of clips.",
    examples=[
        "harmony bench runs/demo --quick",
        "harmony bench runs/demo --set ambient --set hard --seeds 3",
        "harmony bench clips --metric events --metric lips",
        "harmony bench runs/a runs/b --cases cases.jsonl --out a-and-b",
        (
            "harmony bench runs/tiny --set ambient --set speech --task joint --task audio-driven"
            " --guidance none --guidance sync-cfg --truth"
        ),
    ],
)
@click.argument("subject", metavar="MODEL|FOLDER", shell_complete=models)
@click.argument("other", required=False, metavar="[MODEL|FOLDER]", shell_complete=models)
@click.option(
    "--cases",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="JSONL file of cases.  [default: Soundstage's for a model of it, else the shipped ones]",
)
@click.option(
    "--set",
    "sets",
    multiple=True,
    help=(
        "Only this set of the cases. Without --cases: ambient, speech, complex or hard,"
        " Soundstage's held-out cases, or own, those of the scenes that the model was trained on."
        " Can be repeated."
    ),
)
@click.option(
    "--task",
    "tasks",
    multiple=True,
    type=click.Choice(("joint", "audio-driven", "video-driven")),
    help=(
        "For Soundstage's cases: generate both streams, or one for the other of the true clip. Each"
        " task has sets of its own. Can be repeated.  [default: joint]"
    ),
)
@click.option("--first", type=click.IntRange(min=1), help="Only the first cases of each set.")
@click.option(
    "--driven",
    type=click.IntRange(min=1),
    help="Only the first cases of each set in driven tasks.  [default: half of them]",
)
@click.option(
    "--voice", is_flag=True, help="Give Soundstage's spoken cases their speaker's reference audio."
)
@click.option(
    "--truth",
    is_flag=True,
    help="Hold Soundstage's cases against the true clips, through the model's codecs.",
)
@click.option(
    "--guidance",
    "changes",
    multiple=True,
    metavar="NAME[.KEY=VALUE]",
    shell_complete=guidances,
    help=(
        "Exactly these guidances, side by side, as in `harmony compare`: none and sync-cfg, say."
        " Can be repeated.  [default: the recipe's]"
    ),
)
@click.option(
    "--seeds",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Clips per case, each from another seed.",
)
@click.option("--seed", type=RequestField("seed", "integer"), default=0, help="First case's seed.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for clips, scores and plots.  [default: bench/NAME]",
)
@click.option("--quick", is_flag=True, help=f"The first {QUICK} cases of each set, one seed.")
@click.option(
    "--metric",
    "measures",
    multiple=True,
    metavar="NAME[.KEY=VALUE]",
    shell_complete=metrics,
    help="Metrics, as in `harmony compare`. Can be repeated.  [default: events and correlation]",
)
@click.option("--steps", type=RequestField("steps", "integer"), help="Sampling steps.")
@click.option("--seconds", type=RequestField("seconds", "number"), help="Length of the clips.")
@device_option
@dtype_option
@tf32_option
@offload_option
def bench(
    subject: str,
    other: str | None,
    cases: Path | None,
    sets: tuple[str, ...],
    tasks: tuple[str, ...],
    first: int | None,
    driven: int | None,
    voice: bool,
    truth: bool,
    changes: tuple[str, ...],
    seeds: int,
    seed: int,
    out: Path | None,
    quick: bool,
    measures: tuple[str, ...],
    steps: int | None,
    seconds: float | None,
    **runs_on: Any,
) -> None:
    """Score how well picture and sound agree, with chance and errors, over many cases.

    A model generates a clip for each case and seed; the clips of a FOLDER are only measured: those
    with the names of cases (NAME.mp4, further seeds NAME+1.mp4), or all, without --cases. With two,
    the difference of both has its interval over the cases that they share.

    A line of --cases has prompt, sound, speech, image, voice and set, and what else a batch file of
    `harmony generate` has. An interrupted benchmark goes on with the same command: each clip and
    its scores are kept at once.
    """
    from harmony_parts.bench.cases import chosen_cases
    from harmony_parts.bench.report import Report
    from harmony_parts.bench.run import clips_in
    from harmony_parts.comparison import columns
    from harmony_parts.generate.checks import check_writable, recipe_of, resolve_model
    from harmony_parts.models.shipped import local_model

    names = [subject] if other is None else [subject, other]
    labels = _labels(names)
    out = out or Path("bench", "-and-".join(labels))
    with usage_errors("--out"):
        check_writable(out, folder=True)
    clips = {name: clips_in(local_model(name)) for name in names}
    models = {name: _Model(name, resolve_model(name), runs_on) for name in names if not clips[name]}
    for model in models.values():
        model.recipe = recipe_of(model.path)
    recipe = next((model.recipe for model in models.values()), None)
    asked: list[Case] = []
    if recipe is not None or cases is not None or sets:
        defaults = Request(steps=steps, seconds=seconds)
        asked = chosen_cases(cases, sets, recipe, defaults)
        asked = _of_tasks(asked, tasks, QUICK if quick else first, driven, voice, out, recipe)
    measured = columns.metrics(None, measures, runs_on["device"])
    settings = {"seed": seed, "seeds": 1 if quick else seeds}
    sides: dict[str, Scores] = {}
    true: Scores | None = None
    try:
        for name, label in zip(names, labels, strict=True):
            place = out / label if other else out
            if clips[name]:
                sides[label] = _folder(Path(name), clips[name], place, asked, measured)
                continue
            for column, guidance in models[name].guidances(changes):
                side = column if not other else f"{label}, {column}" if column else label
                where = place / column if column else place
                sides[side or label] = _model(
                    models[name], guidance, where, asked, measured, settings
                )
        if truth:
            true = _truth(next(iter(models.values())), out, asked, measured)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped; the same command continues from there") from None
    said = {"cases": str(cases) if cases else None, "quick": quick, **settings}
    report = Report(sides, measured, said, true)
    files = report.write(out)
    report.print()
    click.echo("\n" + "\n".join(map(str, files)))
    if failed := sum(len(scores.failed) for scores in sides.values()):
        raise RunError(f"{quantity(failed, 'clip')} couldn't be scored; see above")


class _Model:
    """A model of the benchmark, loaded when it is first needed."""

    def __init__(self, name: str, path: Path, runs_on: Mapping[str, Any]) -> None:
        self.name, self.path, self.runs_on = name, path, runs_on
        self.recipe: Recipe

    @cached_property
    def pipeline(self) -> Pipeline:
        from harmony_parts.generate.load import load

        device = self.runs_on["device"]
        offload = offload_for(self.runs_on["offload"], device)
        dtype, tf32 = torch_dtype(self.runs_on["dtype"]), self.runs_on["tf32"]
        return load(self.path, device, dtype, offload=offload, tf32=tf32)

    def guidances(self, changes: Sequence[str]) -> Iterable[tuple[str, Guidance | None]]:
        """(name, guidance) of each side; without a choice, the recipe's, which has no name."""
        from harmony_parts.comparison import columns

        return columns.guidances(self.recipe, changes).items() if changes else [("", None)]


def _of_tasks(
    cases: list[Case],
    tasks: Sequence[str],
    first: int | None,
    driven: int | None,
    voice: bool,
    out: Path,
    recipe: Recipe | None,
) -> list[Case]:
    """The first cases of each set, in each task."""
    from harmony_parts.bench.cases import first_of_each
    from harmony_parts.bench.given import JOINT, of_tasks

    found: list[Case] = []
    for task in dict.fromkeys(tasks or (JOINT,)):
        most = len(cases) if first is None else first
        if task != JOINT:
            largest = max(Counter(case.set for case in cases).values(), default=0)
            most = driven or -(-min(most, largest) // DRIVEN)
        found += of_tasks(first_of_each(cases, most), [task], voice, out / "given", recipe)
    return found


def _truth(model: _Model, out: Path, asked: list[Case], measured: Any) -> Scores:
    """The scores of the true clips, through the codecs of the model."""
    from harmony_parts.bench.given import through_codecs
    from harmony_parts.bench.run import folder_entries, score_folder

    folder = out / "truth" / "clips"
    files = through_codecs(model.pipeline, asked, folder, out / "given")
    about = {"folder": str(folder), "codecs": repr(model.recipe.codecs)}
    entries = folder_entries(folder, files, asked)
    return score_folder(folder, out / "truth" / "scores.jsonl", entries, asked, measured, about)


def _folder(folder: Path, files: Any, place: Path, asked: Any, measured: Any) -> Scores:
    from harmony_parts.bench.run import folder_entries, score_folder

    entries = folder_entries(folder, files, asked)
    about = {"folder": str(folder)}
    return score_folder(folder, place / "scores.jsonl", entries, asked, measured, about)


def _model(
    model: _Model,
    guidance: Guidance | None,
    place: Path,
    asked: Any,
    measured: Any,
    settings: Mapping[str, Any],
) -> Scores:
    from harmony_parts.bench.run import model_rows, score_model
    from harmony_parts.generate.jobs import JobRunner

    recipe, runs_on = model.recipe, model.runs_on
    runner = JobRunner(
        place / "clips",
        model.path,
        recipe,
        lambda: model.pipeline,
        dtype=runs_on["dtype"],
        tf32=runs_on["tf32"],
        say=click.echo,
    )
    rows = model_rows(recipe, asked, **settings, guidance=guidance)
    sampling = recipe.sample
    about = {
        "model": model.name,
        "recipe": recipe.name,
        "weights": runner.weights,
        "device": runs_on["device"],
        "format": repr(recipe.format),
        "steps": sorted({row.job.request.steps or sampling.steps for row in rows}),
        "guidance": repr(guidance or sampling.guidance),
        "solver": repr(sampling.solver),
        "shift": repr(sampling.shift),
    }
    return score_model(runner, rows, asked, measured, about)


def _labels(names: list[str]) -> list[str]:
    """A short name for each model or folder, which can be a folder's."""
    from harmony_parts.generate.batch_file import slug

    short = [slug(Path(name).resolve().name) or "clips" for name in names]
    if len(set(short)) == len(names):
        return short
    return [f"{name}-{k}" for k, name in enumerate(short, 1)]
