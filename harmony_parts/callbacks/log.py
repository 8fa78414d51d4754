"""The log file of a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from harmony_parts.callbacks.protocol import RunView
from harmony_parts.errors import RunError
from harmony_parts.plugin import knob


@attrs.frozen
class LogFile:
    """A line of JSON for each record. It is written at once, so that nothing is lost."""

    name: str = knob("log.jsonl", help="file name in the run folder")

    def build(self, *, run: RunView) -> LogWriter:
        """Continues the file of a resumed run."""
        return LogWriter(run.folder / self.name, run.step)


@attrs.define(eq=False)
class LogWriter:
    """Appends to `path`, after dropping the lines of steps beyond `step`."""

    path: Path
    step: int
    _begun: bool = False

    def on_step(self, step: int) -> None:
        """Nothing."""

    def on_record(self, record: Mapping[str, Any]) -> None:
        """Write a line. Raises RunError if the disk is full."""
        try:
            if not self._begun:
                _truncate(self.path, self.step)
                self._begun = True
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise RunError(f"{self.path}: the log can't be written: {error}") from error

    def close(self) -> None:
        """Nothing: no file is open."""


def _truncate(path: Path, step: int) -> None:
    """Drop the lines after `step`, from which the run continues, and a half-written last line."""
    if not path.is_file():
        return
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                lines.append(line + "\n")
        except ValueError:
            continue
    path.write_text("".join(lines), encoding="utf-8")
