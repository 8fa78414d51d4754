"""Snapshots: folders of tensors and facts that are complete or absent.

They are loaded only if every byte is what was written (SHA-256).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs
from safetensors import SafetensorError
from torch import Tensor

from harmony_parts.errors import RunError
from harmony_parts.media.files import cause_on_disk, flush
from harmony_parts.models.saved_tensors import SavedPieces, saved_tensors
from harmony_parts.models.tensor_files import save_tensors

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
    part = partial(target)
    try:
        begin_partial(part)
        for group, tensors in snapshot.tensors.items():
            save_tensors(part / f"{group}.safetensors", tensors)
        files = {path.name: file_digest(path) for path in sorted(part.iterdir())}
        return complete(target, snapshot.step, snapshot.facts, files)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(part, ignore_errors=True)  # make room again on a full disk
        raise RunError(f"{target}: can't be written: {cause_on_disk(error, target)}") from error


def partial(target: Path) -> Path:
    """The folder that becomes `target` when it is complete."""
    return target.parent / f".{target.name}.part"


def begin_partial(part: Path) -> None:
    """Create it, without what a process left that was killed while it wrote. Raises OSError."""
    part.parent.mkdir(parents=True, exist_ok=True)
    _remove_partial(part.parent)
    part.mkdir()


def complete(target: Path, step: int, facts: Mapping[str, Any], files: Mapping[str, str]) -> Path:
    """Write what the snapshot consists of (`files`: path in it -> SHA-256), and give it its name.

    Raises OSError.
    """
    part = partial(target)
    state = part / STATE
    state.write_text(
        json.dumps({"step": step, "facts": facts, "sha256": files}, indent=1), encoding="utf-8"
    )
    flush(state)
    flush(part)
    if target.exists():  # a damaged one, which was skipped
        os.replace(target, part.with_name(f"{part.name}.old"))
    os.replace(part, target)
    flush(target.parent)
    _remove_partial(target.parent)
    return target


def _remove_partial(folder: Path) -> None:
    for left in folder.glob(".*.part*"):
        shutil.rmtree(left, ignore_errors=True)


def group_place(path: Path, group: str) -> Path:
    """The file of a group of tensors, or the folder of the files that several processes wrote."""
    folder = path / group
    return folder if folder.is_dir() else path / f"{group}.safetensors"


def _whole(name: str, saved: SavedPieces) -> Tensor:
    return saved.read()


def load_snapshot(
    path: Path,
    read: Callable[[str, SavedPieces], Tensor] = _whole,
    *,
    rank: int = 0,
    ranks: int = 1,
) -> Snapshot:
    """Load a snapshot. Raises RunError, naming the file, if a file is missing or damaged.

    `read(name, saved)` reads what is wanted of a tensor, by default all. The process `rank` of
    `ranks` compares the digests of its share of the files.
    """
    try:
        state = json.loads((path / STATE).read_text(encoding="utf-8"))
        step, facts, files = int(state["step"]), dict(state["facts"]), dict(state["sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path / STATE}: is missing or damaged ({error})") from error
    for number, (name, digest) in enumerate(files.items()):
        if not (path / name).is_file():
            raise RunError(f"{path / name}: is missing")
        if number % ranks == rank and file_digest(path / name) != digest:
            raise RunError(f"{path / name}: is damaged: its content isn't what was written")
    tensors = {
        group: {
            name: read(name, saved)
            for name, saved in saved_tensors(group_place(path, group)).items()
        }
        for group in _groups(files)
    }
    return Snapshot(step, tensors, facts)


def _groups(files: Iterable[str]) -> list[str]:
    """The groups that the files of a snapshot belong to: GROUP.safetensors, or GROUP/FILE."""
    return list(dict.fromkeys(Path(name).parts[0].removesuffix(".safetensors") for name in files))


def file_digest(path: Path) -> str:
    """The SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
