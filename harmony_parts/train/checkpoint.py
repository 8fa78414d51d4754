"""Checkpoints: folders `step-0001000` that are complete or absent, and are read only where every
byte is what was written.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

from harmony_parts.errors import RunError
from harmony_parts.models.snapshot import Snapshot, load_snapshot, write_snapshot

KEPT = 2
NAME = re.compile(r"step-(\d{7,})")


def save_checkpoint(folder: Path, snapshot: Snapshot) -> Path:
    """Write folder/step-..., and remove all but the last KEPT. It gets its name when all of it is
    on the disk. Raises RunError.
    """
    target = write_snapshot(folder / f"step-{snapshot.step:07d}", snapshot)
    until = steps(folder)
    for old in until[: until.index(target) + 1][:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def steps(folder: Path) -> list[Path]:
    """The checkpoints of a folder, the last step last, whether or not they can be read."""
    found = (
        [path for path in folder.iterdir() if NAME.fullmatch(path.name)] if folder.is_dir() else []
    )
    return sorted(found, key=lambda path: int(path.name.removeprefix("step-")))


def load_last_checkpoint(folder: Path, warn: Callable[[str], None]) -> Snapshot | None:
    """The last checkpoint that is whole; `warn` is told about each that isn't. `None` where there
    is none.
    """
    for path in reversed(steps(folder)):
        try:
            return load_snapshot(path)
        except RunError as error:
            warn(f"{error}; this checkpoint is passed over")
    return None
