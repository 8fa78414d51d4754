"""`harmony compare`: the same prompts with several guidances, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from harmony_parts.cli.command import INTERRUPTED, Command
from harmony_parts.cli.completion import guidances, metrics, models
from harmony_parts.cli.options import (
    SEED,
    device_option,
    dtype_option,
    finite,
    offload_option,
    offloading,
    typed,
)
from harmony_parts.errors import RunError
from harmony_parts.generate.batch_file import FILES, TEXTS, Request, read_batch
from harmony_parts.generate.checks import found, recipe_of, sensible, writable
from harmony_parts.generate.jobs import Work
from harmony_parts.report.progress import complain
from harmony_parts.report.text import quantity

if TYPE_CHECKING:
    from harmony_parts.models.offload import Offload

PROMPTS = (".txt", ".csv", ".jsonl")


@click.command(
    cls=Command,
    short_help="See and measure guidances side by side.",
    examples=[
        "harmony compare runs/demo prompts.txt --out compared",
        "harmony compare runs/demo prompts.txt --out compared --with-text --seeds 4",
        (
            "harmony compare runs/demo prompts.txt --out compared --guidance sync-cfg.audio=4     "
            " other settings"
        ),
        (
            "harmony compare runs/demo prompts.txt --out mine --guidance none --guidance heed"
            " --guidance heed.scale=2      these two alone"
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
    help="The folder of clips, page and numbers.",
)
@click.option(
    "--guidance",
    "changes",
    multiple=True,
    metavar="NAME[.KEY=VALUE]",
    shell_complete=guidances,
    help=(
        "NAME.KEY=VALUE changes a setting, or adds a guidance (mine.use=apg); NAME alone: only"
        " those that are named so, or added. May be repeated."
    ),
)
@click.option(
    "--with-text",
    is_flag=True,
    help="Add cfg to those that leave no text out, such as modality and sync-cfg.",
)
@click.option(
    "--metric",
    "measures",
    multiple=True,
    metavar="NAME[.KEY=VALUE]",
    shell_complete=metrics,
    help=(
        "What clips are measured by, as with --guidance.  [default: the recipe's, else events and"
        " correlation]"
    ),
)
@click.option(
    "--steps", type=click.IntRange(min=1), help="Sampling steps.  [default: the recipe's]"
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    callback=finite,
    help="Length.  [default: that of what is given, else the model's]",
)
@click.option(
    "--seed",
    type=SEED,
    default=0,
    show_default=True,
    help="Of the noise of the first prompt; each has its own.",
)
@click.option(
    "--seeds",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Clips of each prompt and guidance: with so many seeds.",
)
@device_option
@dtype_option
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
    offload: Offload,
) -> None:
    """Make every prompt of PROMPTS with several guidances, those of a prompt from the same noise,
    measure how well sound and picture agree, and write a page that shows the clips side by side:
    none, cfg, modality, sync-cfg, and the guidance of MODEL's recipe where it is another.

    MODEL is what `harmony generate` takes. PROMPTS is a .txt file with a prompt a line, or the .csv
    or .jsonl of `harmony generate
    --batch`, with sounds or videos that are given, too. Settings are those that the recipe has for
    a guidance, else the defaults of its
    part. Stopped, the same command goes on; clips that are there are left alone, and those of other
    settings are never written over.
    """
    if prompts.suffix.lower() not in PROMPTS:
        raise click.BadParameter(
            f"{str(prompts)!r} must end in one of {', '.join(PROMPTS)}", param_hint="PROMPTS"
        )
    writable(out, folder=True)
    defaults = {
        "steps": steps,
        "seconds": seconds,
        **dict.fromkeys((*TEXTS, *FILES, "seed", "extra")),
    }
    requests = [
        Request(r.where, r.name, {**defaults, **r.asked}) for r in read_batch(prompts, seed)
    ]
    for request in requests:
        sensible(request, out, preview=False)
    path = found(model)
    recipe, kept = recipe_of(path), offloading(offload, device)
    from harmony_parts.comparison import columns, run
    from harmony_parts.comparison.results import Results
    from harmony_parts.generate.load import load

    chosen, measured = (
        columns.guidances(recipe, changes, with_text),
        columns.metrics(recipe, measures, device),
    )
    rows = run.rows(recipe, requests, chosen, seed, seeds)
    work = Work(out, path, recipe, lambda: load(path, device, typed(dtype), offload=kept), dtype)
    left_out = run.left_out(work, rows)
    fitting = {name: guidance for name, guidance in chosen.items() if name not in left_out}
    results = Results(
        out,
        model,
        recipe,
        fitting,
        [row for row in rows if row.column in fitting],
        measured,
        left_out,
    )
    try:
        run.compare(work, results)
    except KeyboardInterrupt:
        complain("stopped; the same command goes on from there")
        raise click.exceptions.Exit(INTERRUPTED) from None
    click.echo(str(results.page))
    if results.failed:
        raise RunError(
            f"{quantity(len(results.failed), 'clip')} couldn't be made; the same command tries"
            " again"
        )
