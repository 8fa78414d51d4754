"""Runs on disk: what they trained, how far they are, and their losses."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from harmony_parts.assembly.read import RECIPE
from harmony_parts.callbacks.protocol import flat
from harmony_parts.errors import RunError
from harmony_parts.train.run_folder import CHECKPOINTS, LORA, MODEL, differences

LOG = "log.jsonl"


@attrs.frozen(eq=False)
class RunOnDisk:
    """A run folder: its recipe as a plain table, and the records of its log."""

    folder: Path
    recipe: Mapping[str, Any]
    records: tuple[Mapping[str, Any], ...]

    @property
    def step(self) -> int:
        """The step of the last record, 0 without any."""
        return int(self.records[-1]["step"]) if self.records else 0

    @property
    def steps(self) -> int:
        """The number of steps that it is to have."""
        return int(self.recipe.get("train", {}).get("steps", 0))

    @property
    def is_finished(self) -> bool:
        """Whether it has saved its model or its adapters."""
        return any((self.folder / name).is_dir() for name in (MODEL, LORA))

    def curves(self) -> dict[str, list[tuple[int, float]]]:
        """Name of a number ("loss", "losses/joint.video") -> its (step, value) pairs."""
        result: dict[str, list[tuple[int, float]]] = {}
        for record in self.records:
            for name, value in flat(record).items():
                if name != "step":
                    result.setdefault(name, []).append((int(record["step"]), float(value)))
        return result


def read_run(folder: Path) -> RunOnDisk:
    """Read a run folder. Raises RunError if it isn't one or its recipe can't be read."""
    try:
        recipe = tomllib.loads((folder / RECIPE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{folder}: not a run folder: {error}") from error
    return RunOnDisk(folder, recipe, tuple(_records(folder / LOG)))


def find_runs(folder: Path) -> list[RunOnDisk]:
    """The runs in a folder, by name; `folder` may be a run itself."""
    places = [folder, *sorted(folder.iterdir())] if folder.is_dir() else []
    runs = [place for place in places if (place / RECIPE).is_file() and _has_begun(place)]
    return [read_run(place) for place in runs]


def differing_settings(one: RunOnDisk, other: RunOnDisk) -> list[str]:
    """A line for each setting in which the recipes of two runs differ."""
    return [line for _, line in differences(one.recipe, other.recipe)]


def _has_begun(folder: Path) -> bool:
    return (folder / LOG).is_file() or (folder / CHECKPOINTS).is_dir()


def _records(path: Path) -> Iterator[Mapping[str, Any]]:
    """The whole lines of a log; a run that is going on may be writing the last one."""
    if not path.is_file():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and "step" in record:
            yield record
