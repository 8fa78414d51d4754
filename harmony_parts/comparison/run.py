"""Making a comparison: what is to be made, what is there, and the rest of it, one clip after the
other.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from harmony_parts.assembly.build import build
from harmony_parts.assembly.read import write_recipe
from harmony_parts.assembly.recipe import Recipe
from harmony_parts.av import STREAMS
from harmony_parts.comparison.columns import passes, unfit
from harmony_parts.comparison.results import Results, Row
from harmony_parts.denoisers.protocol import Denoiser
from harmony_parts.errors import HarmonyError, RequestError, RunError
from harmony_parts.generate import provenance
from harmony_parts.generate.batch_file import FILES, SOUND_ONLY, TEXTS, Request
from harmony_parts.generate.jobs import Work
from harmony_parts.guidance.protocol import Guidance
from harmony_parts.report.progress import complain, progress
from harmony_parts.report.text import duration, quantity

APART = 1_000_000  # seeds of one prompt from those of the next


def rows(
    recipe: Recipe,
    requests: Sequence[Request],
    chosen: Mapping[str, Guidance],
    seed: int,
    seeds: int,
) -> list[Row]:
    """A clip for each request, seed and guidance, in a folder for each guidance. Raises
    RequestError where that can't be.

    Guidances share the noise and prompts don't, but where a request says its seed. Clips from the
    same noise are much like each other whatever the prompt: over 24 scenes of one seed the demo's
    model matched 0.77 of the seen events by chance, of their own seeds 0.31.
    """
    found = []
    for number, request in enumerate(requests):
        stem, dot, suffix = request.name.rpartition(".")
        if dot + suffix in SOUND_ONLY:
            raise RequestError(
                f"{request.where}: the name {request.name!r} is that of a sound, and a clip of a"
                " comparison has a picture: .mp4"
            )
        title = "; ".join(
            [request.asked[name] for name in TEXTS if request.asked[name]] or ["no text"]
        )
        title += "".join(
            f"; {name} {request.asked[name].name}" for name in FILES if request.asked[name]
        )
        first = seed + APART * number if request.asked["seed"] is None else request.asked["seed"]
        for more in range(seeds):
            name = f"{stem}{f'+{more}' if more else ''}.{suffix}"
            for column, guidance in chosen.items():
                asked = {**request.asked, "seed": (first + more) % 2**63, "guidance": guidance}
                job = Request(request.where, f"{column.replace(' ', '')}/{name}", asked)
                found.append(Row(job, column, title, passes(guidance, recipe, asked)))
    if len({row.job.name.casefold() for row in found}) < len(found):
        raise RequestError(
            "a name ends as that of another one's further seed does (+1); choose other names"
        )
    return found


def left_out(work: Work, rows: Sequence[Row]) -> dict[str, str]:
    """The columns that the model can't do, and why not. Raises RunError where it can do none."""
    denoiser, why = _denoiser(work), {}
    for row in {
        (
            row.column,
            row.job.asked["steps"],
            *(bool(row.job.asked[stream]) for stream in STREAMS),
        ): row
        for row in rows
    }.values():
        if row.column not in why and (
            fault := unfit(row.job.asked["guidance"], denoiser, work.recipe, row.job.asked)
        ):
            why[row.column] = fault
            complain(f"{row.column} is left out: {fault}")
    if all(row.column in why for row in rows):
        raise RunError("none of these guidances fits the model")
    return why


def _denoiser(work: Work) -> Denoiser:
    """The model's, without its weights where it can be made so."""
    try:
        return build(work.recipe, empty=("codecs", "encoders", "denoiser")).denoiser
    # a part that asks for numbers, or whose form is in its files
    except (HarmonyError, RuntimeError, NotImplementedError):
        return work.pipeline.parts.denoiser


def compare(work: Work, results: Results) -> None:
    """Measure what is there, make and measure the rest; where all is there, no model is loaded. A
    clip that can't be made stops no other.

    Raises RunError where the folder holds clips of other settings.
    """
    notes = {row.job.name: work.note(row.job) for row in results.rows}
    there = [
        row
        for row in results.rows
        if provenance.made(work.folder / row.job.name, notes[row.job.name])
    ]
    left = [row for row in results.rows if row not in there]
    for row in left:
        _check_free(work.folder, row.job.name, notes[row.job.name])
    if left:
        work.pipeline  # noqa: B018 - a model that can't be loaded is told of once, and before a folder is made
    work.folder.mkdir(parents=True, exist_ok=True)
    (work.folder / "recipe.toml").write_text(write_recipe(work.recipe), encoding="utf-8")
    if there:
        click.echo(
            f"{len(there)} of {quantity(len(results.rows), 'clip')} are there already, in"
            f" {work.folder}"
        )
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
            work.make(row.job)
            results.took[row.job.name] = time.perf_counter() - started
            results.measure(row)
        except (HarmonyError, ValueError, click.UsageError) as error:
            results.failed[row.job.name] = str(error)
            complain(f"{work.folder / row.job.name} can't be made: {error}")
        results.write()
        done += row.passes
        rest = (
            f", about {duration((time.perf_counter() - began) / done * (total - done))} left"
            if done < total
            else ""
        )
        click.echo(f"{number} of {len(left)} done{rest}")


def _check_free(folder: Path, file: str, noted: Mapping[str, Any]) -> None:
    """Clips of other settings may have taken hours, and aren't written over. A clip without a note
    was never finished.
    """
    if not (folder / file).is_file():
        return
    try:
        old = dict(json.loads(provenance.beside(folder / file).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return
    asked = json.loads(json.dumps(noted))
    other = ", ".join(
        sorted(name for name in old.keys() | asked.keys() if old.get(name) != asked.get(name))
    )
    raise RunError(
        f"{folder / file}: is there, and differs in its {other} from what is asked for; choose"
        f" another --out, or remove {folder}"
    )
