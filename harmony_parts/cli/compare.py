"""`harmony compare`: the same prompts with several guidances, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

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
    from harmony_parts.generate.jobs import Job
    from harmony_parts.models.offload import Offload

PROMPTS = (".txt", ".csv", ".jsonl")


@click.command(
    cls=Command,
    short_help="Compare guidances side by side, with metrics.",
    examples=[
        "harmony compare runs/demo prompts.txt --out compared",
        "harmony compare runs/demo prompts.txt --out compared --with-text --seeds 4",
        (
            "harmony compare runs/demo prompts.txt --out scales --guidance sync-cfg"
            " --guidance strong.use=sync-cfg --guidance strong.audio=4   two scales"
        ),
        (
            "harmony compare runs/demo prompts.txt --out mine --guidance none --guidance heed"
            " --guidance heed.scale=2   with a setting changed"
        ),
        "harmony compare runs/clips sounds.csv --out driven --metric correlation",
    ],
)
@click.argument("model", shell_complete=models)
@click.argument("prompts", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder for the clips, the page and the numbers.",
)
@click.option(
    "--guidance",
    "changes",
    multiple=True,
    metavar="NAME[.KEY=VALUE]",
    shell_complete=guidances,
    help=(
        "Only the guidances that are named: NAME; NAME.KEY=VALUE with a setting changed, or another"
        " part's (mine.use=apg). Can be repeated.  [default: none, cfg, modality, sync-cfg, and the"
        " recipe's]"
    ),
)
@click.option(
    "--with-text",
    is_flag=True,
    help="Add cfg to guidances that never drop the text, such as modality and sync-cfg.",
)
@click.option(
    "--metric",
    "measures",
    multiple=True,
    metavar="NAME[.KEY=VALUE]",
    shell_complete=metrics,
    help=(
        "Metrics of the clips, chosen as with --guidance.  [default: the recipe's, else events and"
        " correlation]"
    ),
)
@click.option(
    "--steps",
    type=RequestField("steps", "integer"),
    help="Sampling steps.  [default: the recipe's]",
)
@click.option(
    "--seconds",
    type=RequestField("seconds", "number"),
    help="Length.  [default: that of the given stream, else the model's]",
)
@click.option(
    "--seed",
    type=RequestField("seed", "integer"),
    default=0,
    show_default=True,
    help="Seed of the first prompt's noise; each prompt has its own.",
)
@click.option(
    "--seeds",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Clips per prompt and guidance, each from another seed.",
)
@device_option
@dtype_option
@tf32_option
@offload_option
def compare(
    model: str,
    prompts: Path,
    out: Path,
    changes: tuple[str, ...],
    with_text: bool,
    measures: tuple[str, ...],
    steps: int | None,
    seconds: float | None,
    seed: int,
    seeds: int,
    device: str,
    dtype: str | None,
    tf32: bool,
    offload: Offload,
) -> None:
    """Generate every prompt of PROMPTS with several guidances and compare them on one page.

    The guidances are none, cfg, modality and sync-cfg, with their settings from the recipe or else
    the defaults, and the recipe's own guidance if it is another. All clips of a prompt start from
    the same noise. The page shows them side by side, with how well sound and picture agree.

    MODEL is what `harmony generate` takes. PROMPTS is a .txt file with one prompt per line, or a
    batch file of `harmony generate --batch` (.csv or .jsonl). An interrupted comparison continues
    with the same command. Existing clips are reused, and clips with other settings are never
    overwritten.
    """
    jobs = _jobs(Request(steps=steps, seconds=seconds, seed=seed), prompts, out)
    from harmony_parts.comparison import columns, run
    from harmony_parts.comparison.results import Results
    from harmony_parts.generate.checks import recipe_of, resolve_model
    from harmony_parts.generate.jobs import JobRunner
    from harmony_parts.generate.load import load

    path = resolve_model(model)
    recipe, offload = recipe_of(path), offload_for(offload, device)
    chosen = columns.guidances(recipe, changes, with_text)
    measured = columns.metrics(recipe, measures, device)
    rows = run.rows(recipe, jobs, chosen, seed, seeds)
    runner = JobRunner(
        out,
        path,
        recipe,
        lambda: load(path, device, torch_dtype(dtype), offload=offload, tf32=tf32),
        dtype=dtype,
        tf32=tf32,
        say=click.echo,
    )
    left_out = run.left_out(runner, rows)
    fitting = {name: guidance for name, guidance in chosen.items() if name not in left_out}
    rows = [row for row in rows if row.column in fitting]
    results = Results(out, model, recipe, fitting, rows, measured, left_out)
    try:
        run.compare(runner, results)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped; the same command continues from there") from None
    click.echo(str(results.page))
    if results.failed:
        raise RunError(
            f"{quantity(len(results.failed), 'clip')} couldn't be generated; the same command tries"
            " again"
        )


def _jobs(defaults: Request, prompts: Path, out: Path) -> list[Job]:
    """The jobs of a file of prompts, checked as far as is possible without the model."""
    from harmony_parts.generate.batch_file import read_batch
    from harmony_parts.generate.checks import check_writable

    if prompts.suffix.lower() not in PROMPTS:
        raise click.BadParameter(
            f"{str(prompts)!r} must end in one of {', '.join(PROMPTS)}", param_hint="PROMPTS"
        )
    with usage_errors("--out"):
        check_writable(out, folder=True)
    jobs = read_batch(prompts, defaults)
    with usage_errors():
        for job in jobs:
            job.check_file(out)
    return jobs
