"""The scores of one model, or of one folder of clips."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from harmony_parts.bench.cases import Case
from harmony_parts.comparison.measured import Measured
from harmony_parts.comparison.results import Row
from harmony_parts.media.clip import Clip
from harmony_parts.media.files import replace_text
from harmony_parts.metrics.compare import Scored
from harmony_parts.metrics.protocol import Metric, Reference

ALL = "all"  # the sets together


@attrs.frozen
class Entry:
    """A clip: its file in the folder, its set, and its case, which its seeds share."""

    file: str
    set: str
    case: str


class Scores:
    """The scores of clips in `folder`; those of each clip are kept in `store` at once.

    `about` says what the clips are of. By file: the `seconds` that clips took to generate, and why
    clips `failed`. `rows` are the clips to generate, none for a folder that is only scored.
    """

    def __init__(
        self,
        folder: Path,
        store: Path,
        entries: Sequence[Entry],
        metrics: Mapping[str, Metric],
        cases: Mapping[str, Case],
        about: Mapping[str, Any],
        rows: Sequence[Row] = (),
    ) -> None:
        self.folder, self.store, self.about, self.rows = folder, store, about, rows
        self.entries = {entry.file: entry for entry in entries}
        self.failed: dict[str, str] = {}
        self._cases, self._measured = cases, Measured(metrics)
        self._references: dict[str, Reference] = {}
        self._kept = self._read()
        self.seconds: dict[str, float] = {
            file: line["seconds"] for file, line in self._kept.items() if "seconds" in line
        }

    def measure(self, row: Row) -> None:
        """Measure the clip of a row."""
        self.measure_file(row.job.name)

    def measure_file(self, file: str) -> None:
        """Measure a clip by every metric whose streams it has, and keep its numbers.

        Raises MediaError if it, or its reference, can't be read.
        """
        entry = self.entries[file]
        self._measured.measure(file, Clip.read(self.folder / file), self._reference(entry.case))
        seconds = {"seconds": round(self.seconds[file], 2)} if file in self.seconds else {}
        self._kept[file] = {
            **attrs.asdict(entry),
            **seconds,
            "numbers": self._measured.numbers[file],
        }
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in self._kept.values())
        replace_text(self.store, text)

    def write(self, last: bool = False) -> None:
        """Nothing more: `measure_file` has kept each clip's numbers."""

    @property
    def sets(self) -> list[str]:
        """The sets, and "all" if there are several."""
        names = list(dict.fromkeys(entry.set for entry in self.entries.values()))
        return [*names, ALL] if len(names) > 1 else names

    def scored(self, name: str) -> dict[str, Scored]:
        """All pairs of the clips of a set, by metric; this takes most of a report's time."""
        return self._measured.scored(self._of(name))

    def count(self, name: str) -> tuple[int, int]:
        """(measured clips, cases of them) of a set."""
        cases = [case for file, case in self._of(name) if file in self._measured.numbers]
        return len(cases), len(set(cases))

    def lines(self) -> list[dict[str, Any]]:
        """What is known of each clip."""
        return [
            self._kept[file] if file in self._measured.numbers else attrs.asdict(entry)
            for file, entry in self.entries.items()
        ]

    def _of(self, name: str) -> list[tuple[str, str]]:
        found = self.entries.values()
        return [(entry.file, entry.case) for entry in found if name in (entry.set, ALL)]

    def _reference(self, key: str) -> Reference | None:
        if key not in self._references and key in self._cases:
            self._references[key] = self._cases[key].reference()
        return self._references.get(key)

    def _read(self) -> dict[str, dict[str, Any]]:
        """The kept lines of an interrupted benchmark, of clips that still belong to it."""
        try:
            lines = map(json.loads, self.store.read_text(encoding="utf-8").splitlines())
            return {line["file"]: line for line in lines if line["file"] in self.entries}
        except (OSError, ValueError, LookupError, TypeError):
            return {}
