"""What a comparison has made and measured so far, kept as a page and as JSON."""

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
from harmony_parts.comparison.page import page
from harmony_parts.generate.batch_file import Request
from harmony_parts.guidance.protocol import Guidance
from harmony_parts.media.clip import Clip
from harmony_parts.media.files import replace_text
from harmony_parts.metrics.compare import compare_analyses
from harmony_parts.metrics.protocol import Metric, streams_read

SHARE = 10  # of the time, what writing may take: all is paired with all anew


@attrs.frozen(eq=False)
class Row:
    """A clip of the comparison: what is asked for, its column, its heading, and how many passes it
    takes over all steps.
    """

    job: Request
    column: str
    title: str
    passes: int


class Results:
    """What there is of the comparison. By file: `numbers` of the clips that are there, `took`
    seconds, `failed`, why a clip isn't there.
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
        self.folder, self.model, self.recipe, self.columns, self.rows, self.metrics = (
            folder,
            model,
            recipe,
            columns,
            rows,
            metrics,
        )
        self.left_out = left_out
        self.page, self._json = folder / "index.html", folder / "results.json"
        self.failed: dict[str, str] = {}
        self.took: dict[str, float] = self._earlier()
        self.numbers: dict[str, dict[str, dict[str, float]]] = {}
        self._together: dict[str, dict[str, dict[str, Any]]] = {}
        self._found: dict[str, dict[str, Any]] = {}
        self._written, self._writing = -float("inf"), 0.0

    def measure(self, row: Row) -> None:
        """By every metric whose streams the clip has."""
        clip = Clip.read(self.folder / row.job.name)
        there = {"video": clip.frames is not None, "audio": clip.waveform is not None}
        found = {
            name: metric.analyse(clip)
            for name, metric in self.metrics.items()
            if all(there[stream] for stream in streams_read(metric))
        }
        self._found[row.job.name] = found
        self.numbers[row.job.name] = {
            name: self.metrics[name].score(seen.video, seen.audio) for name, seen in found.items()
        }
        self._together.pop(row.column, None)

    def together(self, column: str) -> dict[str, dict[str, Any]]:
        """The numbers of a column's clips together, by metric: as they are, and with each other's
        sounds, which is what chance gives.
        """
        if column not in self._together:
            there = [
                found
                for row in self.rows
                if row.column == column and (found := self._found.get(row.job.name))
            ]
            made = {
                name: {
                    number: compared.json()
                    for number, compared in compare_analyses(
                        metric, [found[name] for found in there if name in found]
                    ).items()
                }
                for name, metric in self.metrics.items()
            }
            self._together[column] = made
        return self._together[column]

    def write(self, last: bool = False) -> None:
        """The page and the JSON, each whole or not at all; but for the last time, only where that
        takes no large share of the time.
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
        """All of it as plain values."""
        form, sampling = self.recipe.format, self.recipe.sample
        steps = sorted({row.job.asked["steps"] or sampling.steps for row in self.rows})
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
        took = [self.took[row.job.name] for row in rows if row.job.name in self.took]
        steps = sum(row.job.asked["steps"] or self.recipe.sample.steps for row in rows)
        per_step = sum(row.passes for row in rows) / steps
        seconds = {"seconds": round(sum(took) / len(took), 2)} if took else {}
        return {
            "name": name,
            "guidance": repr(guidance),
            "passes": round(per_step, 2),
            **seconds,
            "numbers": self.together(name),
        }

    def _clip(self, row: Row) -> dict[str, Any]:
        told = {
            "file": row.job.name,
            "title": row.title,
            "seed": row.job.asked["seed"],
            "column": row.column,
            "made": row.job.name in self.numbers,
        }
        if row.job.name in self.took:
            told["seconds"] = round(self.took[row.job.name], 2)
        if row.job.name in self.failed:
            told["failed"] = self.failed[row.job.name]
        return told | {"numbers": self.numbers.get(row.job.name, {})}

    def _earlier(self) -> dict[str, float]:
        """How long the clips of an earlier run took."""
        try:
            clips = json.loads(self._json.read_text(encoding="utf-8"))["clips"]
            return {clip["file"]: clip["seconds"] for clip in clips if "seconds" in clip}
        except (OSError, ValueError, LookupError, TypeError):
            return {}
