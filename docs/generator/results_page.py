"""reference/results.md: the sync that the demo reached, from its reports in docs/results/."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from generator.markdown import NOTE, table
from harmony_parts.demo.train_table import COLUMNS

INTRODUCTION = (
    "What `harmony demo --train` measured: one small model generated clips in all three tasks, with"
    " and without SyncCFG. [Measuring sync](../explanation/measuring-sync.md) explains the columns."
    " Each cell holds the mean over the seeds and the range from lowest to highest; *chance* is the"
    " same score for re-paired clips. The reports are in `docs/results/`. That of 400 steps was"
    " measured before a layer began with [style](../decisions/0047-a-layer-begins-with-style.md)"
    " and each sample got [its own draws](../decisions/0062-chance-per-sample.md): a run of today"
    " gives other clips, and its errors of chance are"
    " [too small](../explanation/measuring-sync.md#few-clips-are-few).\n"
)


def results_page(results: Path) -> str:
    """The page, from the reports in a folder."""
    files = sorted(results.glob("demo-*.json"))
    reports = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    lines = ["# Results of the demo\n", INTRODUCTION]
    for steps in sorted({report["steps"] for report in reports}, reverse=True):
        lines += section(steps, [report for report in reports if report["steps"] == steps])
    return NOTE + "\n".join(lines) + "\n"


def section(steps: int, reports: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The results for one number of training steps."""
    first = reports[0]
    seeds = ", ".join(str(report["seed"]) for report in reports)
    times = ", ".join(format(report["seconds"]["training"], ".0f") for report in reports)
    yield f"\n## {steps:,} training steps\n"
    yield (
        f"`harmony demo --train --steps {steps} --seed SEED` for the seeds {seeds}:"
        f" {first['parameters']:,} parameters, trained in {times} s; {first['clips']} clips per"
        " row and seed.\n"
    )
    yield from table(["task", "guidance", *COLUMNS.values()], rows(reports))


def rows(reports: Sequence[dict[str, Any]]) -> Iterator[list[str]]:
    """A row for each (task, guidance) of the first report."""

    def numbers_of(report: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
        return {("truth", ""): report["truth"]} | {
            (m["task"], m["guidance"]): m["numbers"] for m in report["made"]
        }

    each = [numbers_of(report) for report in reports]
    for key in each[0]:
        found = [numbers[key] for numbers in each if key in numbers]
        yield [*key, *(cell(column, [row.get(column, {}) for row in found]) for column in COLUMNS)]


def cell(column: str, numbers: Sequence[dict[str, float]]) -> str:
    """Mean, range and chance of a number over the seeds."""
    paired, chance = (
        [number[which] for number in numbers if which in number] for which in ("paired", "repaired")
    )
    if not paired:
        return "-"
    digits = 0 if column == "offset_ms" else 1 if column.endswith("events") else 2
    text = (
        f"{statistics.mean(paired):.{digits}f} ({min(paired):.{digits}f} to"
        f" {max(paired):.{digits}f})"
    )
    return text + (f"; chance {statistics.mean(chance):.2f}" if digits == 2 and chance else "")
