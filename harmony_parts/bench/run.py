"""Running a benchmark: the clips of a model, generated and scored, or those of a folder."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harmony_parts.assembly.recipe import Recipe
from harmony_parts.bench.cases import PLAIN, Case
from harmony_parts.bench.scores import Entry, Scores
from harmony_parts.comparison.columns import passes
from harmony_parts.comparison.results import Row
from harmony_parts.comparison.run import SEED_STRIDE, compare
from harmony_parts.data.clip_settings import EXTENSIONS
from harmony_parts.errors import MediaError, RunError
from harmony_parts.generate.generated import SUFFIXES
from harmony_parts.generate.jobs import Job, JobRunner
from harmony_parts.guidance.protocol import Guidance
from harmony_parts.metrics.protocol import Metric
from harmony_parts.models.folder import find_model
from harmony_parts.report.progress import print_stderr, progress

MEDIA = {*SUFFIXES, *EXTENSIONS}
SEED = re.compile(r"(?P<name>.+)\+\d+")  # NAME+1 is a further seed of NAME


def clips_in(folder: Path) -> list[Path]:
    """The media files in a folder, and in its folders: a set each. Empty for a model's folder."""
    if not folder.is_dir() or _is_model(folder):
        return []
    found = [*folder.glob("*"), *folder.glob("*/*")]
    return sorted(
        file
        for file in found
        if file.suffix.lower() in MEDIA and file.is_file() and not file.name.startswith(".")
    )


def _is_model(folder: Path) -> bool:
    try:
        find_model(folder)
    except RunError:
        return False
    return True


def model_rows(
    recipe: Recipe,
    cases: Sequence[Case],
    seed: int,
    seeds: int,
    guidance: Guidance | None = None,
) -> list[Row]:
    """A clip for each case and seed; the noise of each is another (see `comparison.run.rows`).

    Without `guidance` it is the recipe's.
    """
    rows = []
    for number, case in enumerate(cases):
        for more in range(seeds):
            name = f"{case.key}{f'+{more}' if more else ''}.mp4"
            first = seed + SEED_STRIDE * number
            chosen = {"seed": (first + more) % 2**63, "guidance": guidance}
            job = Job(name, case.request).with_request(**chosen)
            count = passes(guidance or recipe.sample.guidance, recipe, job.request)
            rows.append(Row(job, case.set, case.request.title(), count, case.key))
    return rows


def score_model(
    runner: JobRunner,
    rows: Sequence[Row],
    cases: Sequence[Case],
    metrics: Mapping[str, Metric],
    about: Mapping[str, Any],
) -> Scores:
    """Generate the clips that don't exist yet, and score all.

    Raises RunError if the folder has clips with other settings.
    """
    entries = [Entry(row.job.name, row.column, row.case) for row in rows]
    store = runner.folder.parent / "scores.jsonl"
    by_key = {case.key: case for case in cases}
    scores = Scores(runner.folder, store, entries, metrics, by_key, about, rows)
    compare(runner, scores)
    return scores


def folder_entries(folder: Path, files: Sequence[Path], cases: Sequence[Case]) -> list[Entry]:
    """The clips of a folder: set and case by the file's name, or its own.

    With cases, only the files of these count. Raises RunError if there are none.
    """
    named = {case.key: case for case in cases} | {case.name: case for case in cases}
    entries = []
    for file in files:
        place = file.relative_to(folder)
        match = SEED.fullmatch(place.stem)
        name = match["name"] if match else place.stem
        under = place.parent.name
        case = named.get(f"{under}/{name}") or named.get(name)
        if case is not None:
            entries.append(Entry(place.as_posix(), case.set, case.key))
        elif not cases:
            group = under or PLAIN
            entries.append(Entry(place.as_posix(), group, f"{group}/{name}"))
    if not entries:
        raise RunError(
            f"{folder}: none of its {len(files)} clips has the name of a case, such as"
            f" {cases[0].name}.mp4; without --cases each clip is a case"
        )
    return entries


def score_folder(
    folder: Path,
    store: Path,
    entries: Sequence[Entry],
    cases: Sequence[Case],
    metrics: Mapping[str, Metric],
    about: Mapping[str, Any],
) -> Scores:
    """Score the clips of a folder; one that can't be read doesn't stop the others."""
    store.parent.mkdir(parents=True, exist_ok=True)
    scores = Scores(folder, store, entries, metrics, {case.key: case for case in cases}, about)
    with progress(f"measuring {folder.name}") as step:
        for number, entry in enumerate(entries, 1):
            try:
                scores.measure_file(entry.file)
            except MediaError as error:
                scores.failed[entry.file] = str(error)
                print_stderr(str(error))
            step(number, len(entries))
    return scores
