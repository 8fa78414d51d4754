"""What a comparison has made and measured so far, kept as a page and as JSON."""

from __future__ import annotations

import importlib.metadata
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from harmony_ltx2.columns import passes
from harmony_ltx2.page import page
from harmony_parts.guidance.protocol import Guidance
from harmony_parts.media import Clip
from harmony_parts.metrics.compare import compare_found
from harmony_parts.recipe import Recipe
from harmony_parts.structure import unstructure

PACKAGES = ("harmony-parts", "harmony-ltx2", "harmony-diffusers", "diffusers", "transformers", "torch")


def versions() -> dict[str, str]:
    """Of the packages that a clip depends on."""
    return {name: importlib.metadata.version(name) for name in PACKAGES}


@attrs.frozen(eq=False)
class Row:
    """A clip of the comparison: its file, what it shows, and the note of what it is made from."""

    file: str
    prompt: str
    column: str
    noted: Mapping[str, Any]


class Results:
    """What there is of the comparison. By file: `numbers` of the clips that are there, `took` seconds, `failed`, why a clip isn't there."""

    def __init__(self, folder: Path, recipe: Recipe, columns: Mapping[str, Guidance], rows: Sequence[Row], seed: int) -> None:
        self.folder, self.recipe, self.columns, self.rows, self.seed = folder, recipe, columns, rows, seed
        self.page, self._json = folder / "index.html", folder / "results.json"
        self.metrics = {unstructure(metric, kind="metric")["use"]: metric for metric in recipe.metrics}
        self.failed: dict[str, str] = {}
        self.took: dict[str, float] = self._earlier()
        self.numbers: dict[str, dict[str, dict[str, float]]] = {}
        self._together: dict[str, dict[str, dict[str, Any]]] = {}
        self._found: dict[str, dict[str, Any]] = {}

    def measure(self, row: Row, clip: Clip) -> None:
        """By every metric."""
        found = {name: metric.analyse(clip) for name, metric in self.metrics.items()}
        self._found[row.file] = found
        self.numbers[row.file] = {name: metric.score(found[name]["video"], found[name]["audio"]) for name, metric in self.metrics.items()}
        self._together.pop(row.column, None)

    def together(self, column: str) -> dict[str, dict[str, Any]]:
        """The numbers of a column's clips together, by metric: as they are, and with each other's sounds, which is what chance gives."""
        if column not in self._together:
            there = [self._found[row.file] for row in self.rows if row.column == column and row.file in self._found]
            made = {name: compare_found(metric, [found[name] for found in there])["numbers"] for name, metric in self.metrics.items()}
            self._together[column] = made
        return self._together[column]

    def write(self) -> None:
        """The page and the JSON, each whole or not at all."""
        report = self.report()
        for file, text in ((self._json, json.dumps(report, indent=1, ensure_ascii=False) + "\n"), (self.page, page(report))):
            part = file.with_name(f".{file.name}.part")
            part.write_text(text, encoding="utf-8")
            os.replace(part, file)

    def report(self) -> dict[str, Any]:
        """All of it as plain values."""
        recipe, form, denoiser = self.recipe, self.recipe.format, unstructure(self.recipe.denoiser, kind="denoiser")
        return {
            "name": recipe.name,
            "model": denoiser["model"] + (f" at {denoiser['revision']}" if denoiser["revision"] else ""),
            "form": f"{form.frames} frames of {form.width} x {form.height} at {float(form.fps):g} a second",
            "seed": self.seed,
            "steps": recipe.sample.steps,
            "solver": repr(recipe.sample.solver),
            "shift": repr(recipe.sample.shift),
            "versions": versions(),
            "columns": [
                {"name": name, "guidance": repr(guidance), "passes": passes(guidance), "numbers": self.together(name)}
                for name, guidance in self.columns.items()
            ],
            "clips": [self._clip(row) for row in self.rows],
        }

    def _clip(self, row: Row) -> dict[str, Any]:
        told = {"file": row.file, "prompt": row.prompt, "column": row.column, "made": row.file in self.numbers}
        if row.file in self.took:
            told["seconds"] = round(self.took[row.file], 2)
        if row.file in self.failed:
            told["failed"] = self.failed[row.file]
        return told | {"numbers": self.numbers.get(row.file, {})}

    def _earlier(self) -> dict[str, float]:
        """How long the clips of an earlier run took."""
        try:
            clips = json.loads(self._json.read_text(encoding="utf-8"))["clips"]
            return {clip["file"]: clip["seconds"] for clip in clips if "seconds" in clip}
        except (OSError, ValueError, LookupError, TypeError):
            return {}
