"""`harmony compare`: the same prompts with several guidances, side by side."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harmony_parts.av import STREAMS
from harmony_parts.cli.batch import FILES, SOUND_ONLY, TEXTS, Request, read_batch
from harmony_parts.cli.command import INTERRUPTED, Command
from harmony_parts.cli.completion import guidances, metrics, models
from harmony_parts.cli.format import complain, duration, progress, quantity
from harmony_parts.cli.making import Work
from harmony_parts.cli.options import SEED, device_option, dtype_option, finite, offload_option, offloading, typed
from harmony_parts.cli.request import found, recipe_of, sensible, writable
from harmony_parts.errors import HarmonyError, RequestError, RunError

if TYPE_CHECKING:
    from harmony_parts.blocks.protocol import Denoiser
    from harmony_parts.comparison.results import Results, Row
    from harmony_parts.guidance.protocol import Guidance
    from harmony_parts.offload import Offload
    from harmony_parts.recipe import Recipe

PROMPTS = (".txt", ".csv", ".jsonl")


@click.command(
    cls=Command,
    short_help="See and measure guidances side by side.",
    examples=[
        "harmony compare runs/demo prompts.txt --out compared",
        "harmony compare runs/demo prompts.txt --out compared --with-text --seeds 4",
        "harmony compare runs/demo prompts.txt --out compared --guidance sync-cfg.audio=4      other settings",
        "harmony compare runs/demo prompts.txt --out mine --guidance none --guidance heed --guidance heed.scale=2      these two alone",
        "harmony compare runs/clips sounds.csv --out driven --metric correlation",
    ],
)
@click.argument("model", shell_complete=models)
@click.argument("prompts", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The folder of clips, page and numbers.")
@click.option(
    "--guidance",
    "changes",
    multiple=True,
    metavar="NAME[.KEY=VALUE]",
    shell_complete=guidances,
    help="NAME.KEY=VALUE changes a setting, or adds a guidance (mine.use=apg); NAME alone: only those that are named so, or added; may be repeated.",
)
@click.option("--with-text", is_flag=True, help="Add cfg to those that leave no text out, such as modality and sync-cfg.")
@click.option(
    "--metric",
    "measures",
    multiple=True,
    metavar="NAME[.KEY=VALUE]",
    shell_complete=metrics,
    help="What clips are measured by, as with --guidance.  [default: the recipe's, else events and correlation]",
)
@click.option("--steps", type=click.IntRange(min=1), help="Sampling steps.  [default: the recipe's]")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    callback=finite,
    help="Length.  [default: that of what is given, else the model's]",
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Of the noise.")
@click.option(
    "--seeds", type=click.IntRange(min=1), default=1, show_default=True, help="Clips of each prompt and guidance: with so many seeds."
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
    """Make every prompt of PROMPTS with several guidances, each from the same noise, measure how well sound and picture agree, and write a page
    that shows the clips side by side: none, cfg, modality, sync-cfg, and the guidance of MODEL's recipe where it is another.

    MODEL is what `harmony generate` takes. PROMPTS is a .txt file with a prompt a line, or the .csv or .jsonl of `harmony generate --batch`,
    with sounds or videos that are given, too. Settings are those that the recipe has for a guidance, else the defaults of its part. Stopped,
    the same command goes on; clips that are there are left alone, and those of other settings are never written over.
    """
    if prompts.suffix.lower() not in PROMPTS:
        raise click.BadParameter(f"{str(prompts)!r} must end in one of {', '.join(PROMPTS)}", param_hint="PROMPTS")
    writable(out, folder=True)
    defaults = {"steps": steps, "seconds": seconds, "seed": seed, **dict.fromkeys((*TEXTS, *FILES, "extra"))}
    requests = [Request(r.where, r.name, {**defaults, **r.asked}) for r in read_batch(prompts, seed)]
    path = found(model)
    recipe, kept = recipe_of(path), offloading(offload, device)
    from harmony_parts.comparison import columns
    from harmony_parts.comparison.results import Results
    from harmony_parts.pipeline import load

    chosen, measured = columns.guidances(recipe, changes, with_text), columns.metrics(recipe, measures)
    rows = _rows(recipe, requests, chosen, seeds)
    for row in rows:
        sensible(_job(row), out, preview=False)
    work = Work(out, path, recipe, lambda: load(path, device, typed(dtype), offload=kept), dtype)
    left_out = _left_out(work, rows)
    rows = [row for row in rows if row.column not in left_out]
    if not rows:
        raise RunError("none of these guidances fits the model")
    results = Results(out, model, recipe, {name: g for name, g in chosen.items() if name not in left_out}, rows, measured, left_out)
    try:
        _compare(work, results)
    except KeyboardInterrupt:
        complain("stopped; the same command goes on from there")
        raise click.exceptions.Exit(INTERRUPTED) from None
    click.echo(str(results.page))
    if results.failed:
        raise RunError(f"{quantity(len(results.failed), 'clip')} couldn't be made; the same command tries again")


def _rows(recipe: Recipe, requests: Sequence[Request], chosen: Mapping[str, Guidance], seeds: int) -> list[Row]:
    """A clip for each request, seed and guidance, in a folder for each guidance."""
    from harmony_parts.comparison.columns import passes
    from harmony_parts.comparison.results import Row

    rows = []
    for request in requests:
        stem, dot, suffix = request.name.rpartition(".")
        if dot + suffix in SOUND_ONLY:
            raise RequestError(
                f"{request.where}: the name {request.name!r} is that of a sound, and a clip of a comparison has a picture: .mp4"
            )
        title = "; ".join([request.asked[name] for name in TEXTS if request.asked[name]] or ["no text"])
        title += "".join(f"; {name} {request.asked[name].name}" for name in FILES if request.asked[name])
        for more in range(seeds):
            name = f"{stem}{f'+{more}' if more else ''}.{suffix}"
            for column, guidance in chosen.items():
                asked = {**request.asked, "seed": request.asked["seed"] + more, "guidance": guidance}
                rows.append(Row(f"{column.replace(' ', '')}/{name}", column, title, asked, passes(guidance, recipe, asked)))
    if len({row.file.casefold() for row in rows}) < len(rows):
        raise RequestError("a name ends as that of another one's further seed does (+1); choose other names")
    return rows


def _job(row: Row) -> Request:
    return Request("", row.file, row.asked)


def _left_out(work: Work, rows: Sequence[Row]) -> dict[str, str]:
    """The columns that the model can't do, and why not."""
    from harmony_parts.comparison.columns import unfit

    denoiser, why = _denoiser(work), {}
    for row in {(row.column, row.asked["steps"], *(bool(row.asked[stream]) for stream in STREAMS)): row for row in rows}.values():
        if row.column not in why and (fault := unfit(row.asked["guidance"], denoiser, work.recipe, row.asked)):
            why[row.column] = fault
            complain(f"{row.column} is left out: {fault}")
    return why


def _denoiser(work: Work) -> Denoiser:
    """The model's, without its weights where it can be made so."""
    from harmony_parts.assemble import build

    try:
        return build(work.recipe, empty=("codecs", "encoders", "denoiser")).denoiser
    except (HarmonyError, RuntimeError, NotImplementedError):  # a part that asks for numbers, or whose form is in its files
        return work.pipeline.parts.denoiser


def _compare(work: Work, results: Results) -> None:
    """Measure what is there, make and measure the rest. Where all is there, no model is loaded."""
    from harmony_parts.assemble import write_recipe
    from harmony_parts.cli import note

    notes = {row.file: work.note(_job(row)) for row in results.rows}
    there = [row for row in results.rows if note.made(work.folder / row.file, notes[row.file])]
    left = [row for row in results.rows if row not in there]
    for row in left:
        _check_free(work.folder, row.file, notes[row.file])
    if left:
        work.pipeline  # noqa: B018 - a model that can't be loaded is told of once, and before a folder is made
    work.folder.mkdir(parents=True, exist_ok=True)
    (work.folder / "recipe.toml").write_text(write_recipe(work.recipe), encoding="utf-8")
    if there:
        click.echo(f"{len(there)} of {quantity(len(results.rows), 'clip')} are there already, in {work.folder}")
        with progress("measuring") as step:
            for done, row in enumerate(there, start=1):
                results.measure(row)
                step(done, len(there))
    results.write()
    try:
        _make(work, left, results)
    finally:
        results.write(last=True)


def _make(work: Work, left: Sequence[Row], results: Results) -> None:
    """One clip after the other; what remains is reckoned by their passes, which differ."""
    total, done, began = sum(row.passes for row in left), 0, time.perf_counter()
    for number, row in enumerate(left, start=1):
        started = time.perf_counter()
        try:
            work.make(_job(row))
            results.took[row.file] = time.perf_counter() - started
            results.measure(row)
        except (HarmonyError, ValueError, click.UsageError) as error:
            results.failed[row.file] = str(error)
            complain(f"{work.folder / row.file} can't be made: {error}")
        results.write()
        done += row.passes
        rest = f", about {duration((time.perf_counter() - began) / done * (total - done))} left" if done < total else ""
        click.echo(f"{number} of {len(left)} done{rest}")


def _check_free(folder: Path, file: str, noted: Mapping[str, Any]) -> None:
    """Clips of other settings may have taken hours, and aren't written over. A clip without a note was never finished."""
    from harmony_parts.cli import note

    if not (folder / file).is_file():
        return
    try:
        old = dict(json.loads(note.beside(folder / file).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return
    asked = json.loads(json.dumps(noted))
    other = ", ".join(sorted(name for name in old.keys() | asked.keys() if old.get(name) != asked.get(name)))
    raise RunError(
        f"{folder / file}: is there, and differs in its {other} from what is asked for; choose another --out, or remove {folder}"
    )
