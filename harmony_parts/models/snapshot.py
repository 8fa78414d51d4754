"""Snapshots: folders of tensors and facts that are complete or absent.

They are loaded only if every byte is what was written (SHA-256).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
from safetensors import SafetensorError
from torch import Tensor

from harmony_parts.errors import RunError
from harmony_parts.media.files import cause_on_disk, flush
from harmony_parts.models.tensor_files import load_tensors, save_tensors

STATE = "state.json"


@attrs.frozen(eq=False)
class Snapshot:
    """Groups of named tensors, one file each, and `facts`, values that JSON can represent."""

    step: int
    tensors: Mapping[str, Mapping[str, Tensor]]
    facts: Mapping[str, Any]


def write_snapshot(target: Path, snapshot: Snapshot) -> Path:
    """Write the folder `target`, atomically, in place of an existing one.

    Raises RunError if it can't be written.
    """
    folder = target.parent
    part = folder / f".{target.name}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_partial(folder)  # left by a process that was killed while it wrote
        part.mkdir()
        for group, tensors in snapshot.tensors.items():
            save_tensors(part / f"{group}.safetensors", tensors)
        files = {path.name: _digest(path) for path in sorted(part.iterdir())}
        state = part / STATE
        state.write_text(
            json.dumps({"step": snapshot.step, "facts": snapshot.facts, "sha256": files}, indent=1),
            encoding="utf-8",
        )
        flush(state)
        flush(part)
        if target.exists():  # a damaged one, which was skipped
            os.replace(target, part.with_name(f"{part.name}.old"))
        os.replace(part, target)
        flush(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(part, ignore_errors=True)  # make room again on a full disk
        raise RunError(f"{target}: can't be written: {cause_on_disk(error, target)}") from error
    _remove_partial(folder)
    return target


def _remove_partial(folder: Path) -> None:
    for left in folder.glob(".*.part*"):
        shutil.rmtree(left, ignore_errors=True)


def load_snapshot(path: Path) -> Snapshot:
    """Load a snapshot. Raises RunError, naming the file, if a file is missing or damaged."""
    try:
        state = json.loads((path / STATE).read_text(encoding="utf-8"))
        step, facts, files = int(state["step"]), dict(state["facts"]), dict(state["sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path / STATE}: is missing or damaged ({error})") from error
    for name, digest in files.items():
        if not (path / name).is_file():
            raise RunError(f"{path / name}: is missing")
        if _digest(path / name) != digest:
            raise RunError(f"{path / name}: is damaged: its content isn't what was written")
    return Snapshot(
        step,
        {name.removesuffix(".safetensors"): load_tensors(path / name) for name in files},
        facts,
    )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
