"""The results of a comparison so far, written as a page and as JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import torch

from harmony_parts.assembly.catalogue import catalogue
from harmony_parts.assembly.declared import installed_version
from harmony_parts.assembly.recipe import Recipe
from harmony_parts.assembly.tables import parts_in
from harmony_parts.comparison.measured import Measured
from harmony_parts.comparison.page import page
from harmony_parts.generate.jobs import Job
from harmony_parts.guidance.protocol import Guidance
from harmony_parts.media.clip import Clip
from harmony_parts.media.files import replace_text
from harmony_parts.metrics.compare import Compared
from harmony_parts.metrics.protocol import Metric

SHARE = 10  # writing takes at most 1/10 of the time: it re-pairs all clips with each other


@attrs.frozen(eq=False)
class Row:
    """A clip of the comparison: its job, column and heading, and its passes over all steps.

    `case` is the prompt's name, which its seeds share.
    """

    job: Job
    column: str
    title: str
    passes: int
    case: str = ""


class Results:
    """The results of a comparison so far.

    By file: the `numbers` of measured clips, the `seconds` that clips took to generate, and why
    clips `failed`.
    """

    def __init__(
        self,
        folder: Path,
        model: str,
        recipe: Recipe,
        columns: Mapping[str, Guidance],
        rows: Sequence[Row],
        metrics: Mapping[str, Metric],
        left_out: Mapping[str, str],
    ) -> None:
        self.folder, self.model, self.recipe = folder, model, recipe
        self.columns, self.rows = columns, rows
        self.left_out = left_out
        self.page, self._json = folder / "index.html", folder / "results.json"
        self.failed: dict[str, str] = {}
        self.seconds: dict[str, float] = self._earlier_seconds()
        self._measured = Measured(metrics)
        self._together: dict[str, dict[str, dict[str, Compared]]] = {}
        self._written, self._writing = -float("inf"), 0.0

    @property
    def numbers(self) -> dict[str, dict[str, dict[str, float]]]:
        """File -> metric -> number -> value of the measured clips."""
        return self._measured.numbers

    def measure(self, row: Row) -> None:
        """Measure a clip by every metric whose streams it has."""
        self._measured.measure(row.job.name, Clip.read(self.folder / row.job.name))
        self._together.pop(row.column, None)

    def together(self, column: str) -> dict[str, dict[str, Compared]]:
        """The numbers of a column's clips together, by metric: as generated, and by chance.

        Chance is the same frames with the sounds of the column's other prompts.
        """
        if column not in self._together:
            cases = [(row.job.name, row.case) for row in self.rows if row.column == column]
            self._together[column] = self._measured.together(cases)
        return self._together[column]

    def write(self, last: bool = False) -> None:
        """Write the page and the JSON, each whole or not at all.

        Skipped, unless it is the `last` time, if writing would take a large share of the time.
        """
        began = time.perf_counter()
        if not last and began - self._written < SHARE * self._writing:
            return
        report = self.report()
        for file, text in (
            (self._json, json.dumps(report, indent=1, ensure_ascii=False) + "\n"),
            (self.page, page(report)),
        ):
            replace_text(file, text)
        self._written = time.perf_counter()
        self._writing = self._written - began

    def report(self) -> dict[str, Any]:
        """All results as plain values, for JSON."""
        form, sampling = self.recipe.format, self.recipe.sample
        steps = sorted({row.job.request.steps or sampling.steps for row in self.rows})
        parts = catalogue()
        used = parts_in(self.recipe, parts).union(
            *(parts_in(guidance, parts) for guidance in self.columns.values())
        )
        return {
            "name": self.recipe.name,
            "model": self.model,
            "form": f"{form.width} x {form.height} at {float(form.fps):g} a second",
            "steps": steps,
            "solver": repr(sampling.solver),
            "shift": repr(sampling.shift),
            "versions": [
                f"harmony-parts {installed_version()}",
                f"torch {torch.__version__}",
                *sorted(parts.distributions(used).values()),
            ],
            "columns": [self._column(name, guidance) for name, guidance in self.columns.items()],
            "left_out": dict(self.left_out),
            "clips": [self._clip(row) for row in self.rows],
        }

    def _column(self, name: str, guidance: Guidance) -> dict[str, Any]:
        rows = [row for row in self.rows if row.column == name]
        seconds = [self.seconds[row.job.name] for row in rows if row.job.name in self.seconds]
        steps = sum(row.job.request.steps or self.recipe.sample.steps for row in rows)
        per_step = sum(row.passes for row in rows) / steps
        mean = {"seconds": round(sum(seconds) / len(seconds), 2)} if seconds else {}
        return {
            "name": name,
            "guidance": repr(guidance),
            "passes": round(per_step, 2),
            **mean,
            "numbers": {
                metric: {number: compared.json() for number, compared in numbers.items()}
                for metric, numbers in self.together(name).items()
            },
        }

    def _clip(self, row: Row) -> dict[str, Any]:
        clip = {
            "file": row.job.name,
            "title": row.title,
            "seed": row.job.request.seed,
            "column": row.column,
            "made": row.job.name in self.numbers,
        }
        if row.job.name in self.seconds:
            clip["seconds"] = round(self.seconds[row.job.name], 2)
        if row.job.name in self.failed:
            clip["failed"] = self.failed[row.job.name]
        reasons = self._measured.reasons.get(row.job.name)
        can_not = {"can't tell": reasons} if reasons else {}
        return clip | {"numbers": self.numbers.get(row.job.name, {})} | can_not

    def _earlier_seconds(self) -> dict[str, float]:
        """How long the clips of an interrupted comparison took."""
        try:
            clips = json.loads(self._json.read_text(encoding="utf-8"))["clips"]
            return {clip["file"]: clip["seconds"] for clip in clips if "seconds" in clip}
        except (OSError, ValueError, LookupError, TypeError):
            return {}
