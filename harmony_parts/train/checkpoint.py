"""Checkpoints: folders `step-0001000` that are complete or absent, and are read only where every
byte is what was written.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
from safetensors import SafetensorError
from torch import Tensor

from harmony_parts.errors import RunError
from harmony_parts.weights import flush, load_tensors, save_tensors

KEPT = 2
STATE = "state.json"
NAME = re.compile(r"step-(\d{7,})")


@attrs.frozen(eq=False)
class Checkpoint:
    """A run at `step`: groups of named tensors, one file each, and `facts`, which JSON can say."""

    step: int
    tensors: Mapping[str, Mapping[str, Tensor]]
    facts: Mapping[str, Any]


def save(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write folder/step-..., and remove all but the last KEPT. It gets its name when all of it is
    on the disk. Raises RunError.
    """
    target = write(folder / f"step-{checkpoint.step:07d}", checkpoint)
    until = steps(folder)
    for old in until[: until.index(target) + 1][:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def write(target: Path, checkpoint: Checkpoint) -> Path:
    """Write `target`, which appears whole or not at all, and takes the place of one that is there.
    Raises RunError.
    """
    folder = target.parent
    part = folder / f".{target.name}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _clear(folder)  # what a run left that was killed while it wrote
        part.mkdir()
        for group, tensors in checkpoint.tensors.items():
            save_tensors(part / f"{group}.safetensors", tensors)
        files = {path.name: _digest(path) for path in sorted(part.iterdir())}
        state = part / STATE
        state.write_text(
            json.dumps(
                {"step": checkpoint.step, "facts": checkpoint.facts, "sha256": files}, indent=1
            ),
            encoding="utf-8",
        )
        flush(state)
        flush(part)
        if target.exists():  # a damaged one, which was passed over
            os.replace(target, part.with_name(f"{part.name}.old"))
        os.replace(part, target)
        flush(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(part, ignore_errors=True)  # a full disk has room again
        raise RunError(f"{target}: can't be written: {error}") from error
    _clear(folder)
    return target


def _clear(folder: Path) -> None:
    for left in folder.glob(".*.part*"):
        shutil.rmtree(left, ignore_errors=True)


def steps(folder: Path) -> list[Path]:
    """The checkpoints of a folder, the last step last, whether or not they can be read."""
    found = (
        [path for path in folder.iterdir() if NAME.fullmatch(path.name)] if folder.is_dir() else []
    )
    return sorted(found, key=lambda path: int(path.name.removeprefix("step-")))


def load_last(folder: Path, warn: Callable[[str], None]) -> Checkpoint | None:
    """The last checkpoint that is whole; `warn` is told about each that isn't. `None` where there
    is none.
    """
    for path in reversed(steps(folder)):
        try:
            return load(path)
        except RunError as error:
            warn(f"{error}; this checkpoint is passed over")
    return None


def load(path: Path) -> Checkpoint:
    """One checkpoint. Raises RunError, naming the file, where something is missing from it or isn't
    what was written.
    """
    try:
        state = json.loads((path / STATE).read_text(encoding="utf-8"))
        step, facts, files = int(state["step"]), dict(state["facts"]), dict(state["sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path / STATE}: is missing or damaged ({error})") from error
    for name, digest in files.items():
        if not (path / name).is_file():
            raise RunError(f"{path / name}: is missing")
        if _digest(path / name) != digest:
            raise RunError(f"{path / name}: is damaged: it isn't what was written")
    return Checkpoint(
        step,
        {name.removesuffix(".safetensors"): load_tensors(path / name) for name in files},
        facts,
    )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
