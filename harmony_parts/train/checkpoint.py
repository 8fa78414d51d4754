"""Checkpoints: folders `step-0001000` that are complete or absent.

They are loaded only if every byte is what was written.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from harmony_parts.errors import RunError
from harmony_parts.models.snapshot import Snapshot, load_snapshot, write_snapshot

KEEP = 2  # checkpoints
NAME = re.compile(r"step-(\d{7,})")
TENSORS = ("weights", "optimizer", "ema", "random")
"""The groups of a training state that are tensors, each a file; everything else is JSON."""


def save_checkpoint(folder: Path, state: Mapping[str, Any]) -> Path:
    """Write a training state to folder/step-..., and remove all but the last KEEP checkpoints.

    The folder gets its name once everything is on the disk. Raises RunError if it can't be written.
    """
    tensors = {name: state[name] for name in TENSORS if name in state}
    facts = {name: value for name, value in state.items() if name not in (*TENSORS, "step")}
    target = write_snapshot(
        folder / f"step-{state['step']:07d}", Snapshot(state["step"], tensors, facts)
    )
    existing = list_checkpoints(folder)
    for old in existing[: existing.index(target) + 1][:-KEEP]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder by step, intact or not."""
    paths = folder.iterdir() if folder.is_dir() else ()
    checkpoints = [path for path in paths if NAME.fullmatch(path.name)]
    return sorted(checkpoints, key=lambda path: int(path.name.removeprefix("step-")))


def load_last_checkpoint(folder: Path, warn: Callable[[str], None]) -> dict[str, Any] | None:
    """The state in the last intact checkpoint; `warn` gets a line for each that is damaged.

    `None` if there is no intact one.
    """
    for path in reversed(list_checkpoints(folder)):
        try:
            saved = load_snapshot(path)
        except RunError as error:
            warn(f"{error}; this checkpoint is skipped")
        else:
            return {"step": saved.step, **saved.tensors, **saved.facts}
    return None
