"""`harmony bench`: scores of a model, or of a folder of clips, or of two side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harmony_parts.cli.command import Command
from harmony_parts.cli.completion import metrics, models
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
    from harmony_parts.bench.scores import Scores

QUICK = 12  # cases of each set


@click.command(
    cls=Command,
    short_help="Score a model, or a folder of clips.",
    examples=[
        "harmony bench runs/demo --quick",
        "harmony bench runs/demo --set ambient --set hard --seeds 3",
        "harmony bench clips --metric events --metric lips",
        "harmony bench runs/a runs/b --cases cases.jsonl --out a-and-b",
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
    from harmony_parts.bench.cases import chosen_cases, first_of_each
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
    paths = {name: resolve_model(name) for name in names if not clips[name]}
    recipes = {name: recipe_of(path) for name, path in paths.items()}
    recipe = next(iter(recipes.values()), None)
    asked = []
    if recipe is not None or cases is not None or sets:
        defaults = Request(steps=steps, seconds=seconds)
        asked = chosen_cases(cases, sets, recipe, defaults)
        asked = first_of_each(asked, QUICK) if quick else asked
    measured = columns.metrics(None, measures, runs_on["device"])
    seeds = 1 if quick else seeds
    sides: dict[str, Scores] = {}
    try:
        for name, label in zip(names, labels, strict=True):
            place = out / label if other else out
            if clips[name]:
                sides[label] = _folder(Path(name), clips[name], place, asked, measured)
            else:
                settings = {"seed": seed, "seeds": seeds, **runs_on}
                sides[label] = _model(
                    name, paths[name], recipes[name], place, asked, measured, settings
                )
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped; the same command continues from there") from None
    said = {"cases": str(cases) if cases else None, "quick": quick, "seeds": seeds, "seed": seed}
    report = Report(sides, measured, said)
    files = report.write(out)
    report.print()
    click.echo("\n" + "\n".join(map(str, files)))
    if failed := sum(len(scores.failed) for scores in sides.values()):
        raise RunError(f"{quantity(failed, 'clip')} couldn't be scored; see above")


def _folder(folder: Path, files: Any, place: Path, asked: Any, measured: Any) -> Scores:
    from harmony_parts.bench.run import folder_entries, score_folder

    entries = folder_entries(folder, files, asked)
    about = {"folder": str(folder)}
    return score_folder(folder, place / "scores.jsonl", entries, asked, measured, about)


def _model(
    name: str, path: Path, recipe: Any, place: Path, asked: Any, measured: Any, settings: Any
) -> Scores:
    from harmony_parts.bench.run import model_rows, score_model
    from harmony_parts.generate.jobs import JobRunner
    from harmony_parts.generate.load import load

    device, dtype, tf32 = settings["device"], settings["dtype"], settings["tf32"]
    offload = offload_for(settings["offload"], device)
    runner = JobRunner(
        place / "clips",
        path,
        recipe,
        lambda: load(path, device, torch_dtype(dtype), offload=offload, tf32=tf32),
        dtype=dtype,
        tf32=tf32,
        say=click.echo,
    )
    rows = model_rows(recipe, asked, settings["seed"], settings["seeds"])
    sampling = recipe.sample
    about = {
        "model": name,
        "recipe": recipe.name,
        "weights": runner.weights,
        "format": repr(recipe.format),
        "steps": sorted({row.job.request.steps or sampling.steps for row in rows}),
        "guidance": repr(sampling.guidance),
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
