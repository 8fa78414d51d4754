"""The report of a benchmark: a table of each set, a plot of each, and all as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from harmony_parts.assembly.catalogue import catalogue
from harmony_parts.assembly.declared import installed_version
from harmony_parts.assembly.tables import parts_in
from harmony_parts.bench.against_truth import Against, against_truth
from harmony_parts.bench.scores import Scores
from harmony_parts.bench.truth_tables import markdown
from harmony_parts.media.files import replace_text
from harmony_parts.metrics.compare import Compared, compare_scored
from harmony_parts.metrics.compare_two import compare_two
from harmony_parts.metrics.protocol import Metric
from harmony_parts.report.score_plot import score_plot
from harmony_parts.report.score_table import HEADER, MEANING, Numbers, print_table, rows
from harmony_parts.report.text import quantity

WHICH = ("paired", "repaired", "difference")


class Report:
    """What was measured, by set and side (the name of a model, of a guidance, or of a folder).

    `truth` are the scores of the true clips, which the sides are held against.
    """

    def __init__(
        self,
        sides: Mapping[str, Scores],
        metrics: Mapping[str, Metric],
        asked: Mapping[str, Any],
        truth: Scores | None = None,
    ) -> None:
        self.sides, self.metrics, self.asked, self.truth = sides, metrics, asked, truth
        self.against: dict[str, dict[str, dict[str, dict[str, Against]]]] = {}
        names = dict.fromkeys(name for scores in sides.values() for name in scores.sets)
        self.sets: dict[str, dict[str, Numbers]] = {name: self._set(name) for name in names}

    def _set(self, name: str) -> dict[str, Numbers]:
        # all pairs of clips are scored, which takes the time: once for all three
        pairs = {side: scores.scored(name) for side, scores in self.sides.items()}
        if self.truth is not None:
            true = self.truth.scored(name)
            self.against[name] = {
                side: {metric: against_truth(each, true[metric]) for metric, each in found.items()}
                for side, found in pairs.items()
            }
        found: dict[str, Numbers] = {
            side: {metric: compare_scored(scored) for metric, scored in by_metric.items()}
            for side, by_metric in pairs.items()
        }
        if len(pairs) == 2:
            first, second = pairs.values()
            found[" - ".join(self.sides)] = {
                metric: compare_two(first[metric], second[metric]) for metric in self.metrics
            }
        return found

    def write(self, out: Path) -> list[Path]:
        """Write bench.json, bench.md and a plot of each set; the files."""
        out.mkdir(parents=True, exist_ok=True)
        file, tables = out / "bench.json", out / "bench.md"
        replace_text(file, json.dumps(self.json(), indent=1, ensure_ascii=False) + "\n")
        replace_text(tables, markdown(self.sets, self.against, self.sides))
        plots = [
            score_plot({side: found[side] for side in self.sides}, out / f"{name}.png", name)
            for name, found in self.sets.items()
        ]
        return [file, tables, *plots]

    def print(self) -> None:
        """Print the table of each set."""
        left = ["", ""] if len(self.sides) > 1 else [""]
        for name, found in self.sets.items():
            counts = [
                f"{side}: {quantity(clips, 'clip')} of {quantity(cases, 'case')}"
                for side, scores in self.sides.items()
                for clips, cases in [scores.count(name)]
            ]
            print(f"\n{name}, {'; '.join(counts)}\n")
            lines = rows(found)
            cut = lines if len(self.sides) > 1 else [[line[0], *line[2:]] for line in lines]
            print_table([*left, *HEADER], cut, left=len(left))
        print(f"\n{MEANING}")

    def json(self) -> dict[str, Any]:
        """All results as plain values."""
        parts = catalogue()
        used = parts_in(tuple(self.metrics.values()), parts)
        return {
            "versions": [
                f"harmony-parts {installed_version()}",
                f"torch {torch.__version__}",
                *sorted(parts.distributions(used).values()),
            ],
            "metrics": {name: repr(metric) for name, metric in self.metrics.items()},
            **self.asked,
            "sets": {
                name: {side: plain(numbers) for side, numbers in found.items()}
                for name, found in self.sets.items()
            },
            "truth": {
                name: {
                    side: {
                        metric: {number: each.json() for number, each in numbers.items()}
                        for metric, numbers in by_metric.items()
                    }
                    for side, by_metric in found.items()
                }
                for name, found in self.against.items()
            },
            "sides": [
                {
                    "name": side,
                    **scores.about,
                    "clips": scores.lines(),
                    "failed": scores.failed,
                }
                for side, scores in self.sides.items()
            ],
        }


def plain(numbers: Numbers) -> dict[str, dict[str, Any]]:
    """The means of each number, their errors, and their intervals of 95 %, as plain values."""
    return {
        metric: {name: _plain(compared) for name, compared in found.items()}
        for metric, found in numbers.items()
    }


def _plain(compared: Compared) -> dict[str, Any]:
    spans = {f"{which}_95": compared.interval(which) for which in WHICH}
    return {**compared.json(), **{name: span for name, span in spans.items() if span is not None}}
