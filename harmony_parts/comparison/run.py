"""Running a comparison: which clips it has, which of them exist, and generating the others."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from harmony_parts.assembly.build import build
from harmony_parts.assembly.read import write_recipe
from harmony_parts.assembly.recipe import Recipe
from harmony_parts.av import STREAMS
from harmony_parts.comparison.columns import misfit, passes
from harmony_parts.comparison.results import Row
from harmony_parts.denoisers.protocol import Denoiser
from harmony_parts.errors import HarmonyError, RequestError, RunError
from harmony_parts.generate import provenance
from harmony_parts.generate.fields import FILES
from harmony_parts.generate.generated import SOUND_ONLY
from harmony_parts.generate.jobs import Job, JobRunner
from harmony_parts.generate.request import Request
from harmony_parts.guidance.protocol import Guidance
from harmony_parts.report.progress import print_stderr, progress
from harmony_parts.report.text import duration, quantity

SEED_STRIDE = 1_000_000  # between the seeds of one prompt and the next


class Outcome(Protocol):
    """What becomes of the clips: each is measured, and written, before the next is generated.

    By file: the `seconds` that clips took to generate, and why clips `failed`.
    """

    rows: Sequence[Row]
    seconds: dict[str, float]
    failed: dict[str, str]

    def measure(self, row: Row) -> None:
        """Measure a clip that exists."""

    def write(self, last: bool = False) -> None:
        """Write what is known so far."""


def rows(
    recipe: Recipe,
    jobs: Sequence[Job],
    guidances: Mapping[str, Guidance],
    seed: int,
    seeds: int,
) -> list[Row]:
    """A clip for each job, seed and guidance, in a folder for each guidance.

    Guidances share the noise; prompts don't, unless a line sets its own seed. Clips from the same
    noise are similar whatever the prompt: over 24 scenes of one seed the demo's model matched 0.77
    of the seen events by chance, with a seed for each 0.31. Raises RequestError for names that
    clash or are those of a sound.
    """
    rows = [
        row
        for number, job in enumerate(jobs)
        for row in _rows_of(recipe, job, guidances, seed + SEED_STRIDE * number, seeds)
    ]
    if len({row.job.name.casefold() for row in rows}) < len(rows):
        raise RequestError(
            "a name is that of another one's further seed (it ends in +1); choose other names"
        )
    return rows


def _rows_of(
    recipe: Recipe, job: Job, guidances: Mapping[str, Guidance], seed: int, seeds: int
) -> Iterator[Row]:
    stem, dot, suffix = job.name.rpartition(".")
    if dot + suffix in SOUND_ONLY:
        raise RequestError(
            f"{job.source}: the name {job.name!r} is that of a sound, and clips are compared with"
            " their frames: use .mp4"
        )
    title, first = _title(job.request), job.request.seed if "seed" in job.columns else seed
    for more in range(seeds):
        name = f"{stem}{f'+{more}' if more else ''}.{suffix}"
        for column, guidance in guidances.items():
            made = job.with_request(seed=(first + more) % 2**63, guidance=guidance)
            clip = Job(f"{column.replace(' ', '')}/{name}", made.request, job.source, job.columns)
            yield Row(clip, column, title, passes(guidance, recipe, made.request), case=stem)


def _title(request: Request) -> str:
    """The texts and the given files of a request."""
    files = [f"{name} {path.name}" for name in FILES if (path := request.path(name))]
    return "; ".join([request.title("; ") or "no text", *files])


def left_out(runner: JobRunner, rows: Sequence[Row]) -> dict[str, str]:
    """The columns that the model can't generate, and why.

    Raises RunError if it can generate none.
    """
    denoiser, reasons = _denoiser(runner), {}
    distinct = {(row.column, row.job.request.steps, *_given(row.job.request)): row for row in rows}
    for row in distinct.values():
        guidance = row.job.request.guidance
        assert guidance is not None
        if row.column not in reasons and (
            reason := misfit(guidance, denoiser, runner.recipe, row.job.request)
        ):
            reasons[row.column] = reason
            print_stderr(f"{row.column} is left out: {reason}")
    if all(row.column in reasons for row in rows):
        raise RunError("this model can't run any of these guidances")
    return reasons


def _given(request: Request) -> tuple[bool, ...]:
    return tuple(getattr(request, stream) is not None for stream in STREAMS)


def _denoiser(runner: JobRunner) -> Denoiser:
    """The model's denoiser, without its weights if it can be built so."""
    try:
        return build(runner.recipe, empty=("codecs", "encoders", "denoiser")).denoiser
    # a part that needs the values of its weights, or whose shapes come from its files
    except (HarmonyError, RuntimeError, NotImplementedError):
        return runner.pipeline.parts.denoiser


def compare(runner: JobRunner, results: Outcome) -> None:
    """Measure the existing clips, then generate and measure the others.

    The model is loaded only if clips are missing. A clip that fails doesn't stop the others. Raises
    RunError if the folder has clips with other settings.
    """
    origins = {row.job.name: runner.provenance(row.job) for row in results.rows}
    done = [row for row in results.rows if _is_done(runner.folder, row, origins)]
    left = [row for row in results.rows if row not in done]
    for row in left:
        check_free(runner.folder, row.job.name, origins[row.job.name])
    if left:
        # a model that can't be loaded fails once, and before the folder is created
        runner.pipeline  # noqa: B018
    runner.folder.mkdir(parents=True, exist_ok=True)
    (runner.folder / "recipe.toml").write_text(write_recipe(runner.recipe), encoding="utf-8")
    if done:
        _measure(runner, done, results)
    results.write()
    try:
        _generate(runner, left, results)
    finally:
        results.write(last=True)


def _is_done(folder: Path, row: Row, origins: Mapping[str, Mapping[str, Any]]) -> bool:
    return provenance.is_up_to_date(folder / row.job.name, origins[row.job.name])


def _measure(runner: JobRunner, rows: Sequence[Row], results: Outcome) -> None:
    """Measure clips that exist already."""
    clips = quantity(len(results.rows), "clip")
    runner.say(f"{len(rows)} of {clips} already exist in {runner.folder}")
    with progress("measuring") as step:
        for number, row in enumerate(rows, start=1):
            results.measure(row)
            step(number, len(rows))


def _generate(runner: JobRunner, rows: Sequence[Row], results: Outcome) -> None:
    """Generate and measure one clip after the other; estimate the time left by their passes."""
    total, done, began = sum(row.passes for row in rows), 0, time.perf_counter()
    for number, row in enumerate(rows, start=1):
        started = time.perf_counter()
        try:
            runner.run(row.job)
            results.seconds[row.job.name] = time.perf_counter() - started
            results.measure(row)
        except (HarmonyError, ValueError) as error:
            results.failed[row.job.name] = str(error)
            print_stderr(f"{runner.folder / row.job.name} can't be generated: {error}")
        results.write()
        done += row.passes
        remaining = (time.perf_counter() - began) / done * (total - done)
        rest = f", about {duration(remaining)} left" if done < total else ""
        runner.say(f"{number} of {len(rows)} done{rest}")


def check_free(folder: Path, name: str, origin: Mapping[str, Any]) -> None:
    """Raise RunError if the clip exists with other settings: it may have taken hours.

    A clip without provenance was never finished, and may be overwritten.
    """
    clip = folder / name
    stored = provenance.read_sidecar(clip) if clip.is_file() else None
    if stored is not None:
        different = ", ".join(provenance.differences(stored, origin))
        raise RunError(
            f"{clip}: exists with another {different}; choose another --out, or remove {folder}"
        )
