"""Checkpoints: folders `step-0001000` that are complete or absent.

They are loaded only if every byte is what was written. Any number of processes continues from what
any other number has written.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harmony_parts.errors import RunError
from harmony_parts.models.saved_tensors import SavedPieces
from harmony_parts.models.snapshot import Snapshot, load_snapshot, write_snapshot
from harmony_parts.strategies.process import SingleProcess
from harmony_parts.strategies.protocol import Strategy

KEEP = 2  # checkpoints
NAME = re.compile(r"step-(\d{7,})")
TENSORS = ("weights", "optimizer", "ema")
"""The groups of a training state that are tensors; everything else is JSON."""
ALONE = SingleProcess(torch.device("cpu"))


def save_checkpoint(folder: Path, state: Mapping[str, Any], strategy: Strategy = ALONE) -> Path:
    """Write a training state to folder/step-..., and remove all but the last KEEP checkpoints.

    The folder gets its name once everything is on the disk. Several processes write it together.
    Raises RunError, in all of them, if it can't be written.
    """
    tensors = {name: state[name] for name in TENSORS if name in state}
    if strategy.ranks == 1:  # its weights may be divided all the same, into one part
        tensors = {name: strategy.whole(group) for name, group in tensors.items()}
    facts = {name: value for name, value in state.items() if name not in (*TENSORS, "step")}
    snapshot, target = Snapshot(state["step"], tensors, facts), folder / f"step-{state['step']:07d}"
    if strategy.ranks > 1:
        from harmony_parts.train.shared_checkpoint import write_together  # torch.distributed

        write_together(target, snapshot, strategy)
    else:
        write_snapshot(target, snapshot)
    if not strategy.rank:
        existing = list_checkpoints(folder)
        for old in existing[: existing.index(target) + 1][:-KEEP]:
            shutil.rmtree(old, ignore_errors=True)
    return target


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder by step, intact or not."""
    paths = folder.iterdir() if folder.is_dir() else ()
    checkpoints = [path for path in paths if NAME.fullmatch(path.name)]
    return sorted(checkpoints, key=lambda path: int(path.name.removeprefix("step-")))


def _nothing(name: str) -> None:
    """No tensor is divided."""


def load_last_checkpoint(
    folder: Path,
    warn: Callable[[str], None],
    strategy: Strategy = ALONE,
    like: Callable[[str], Tensor | None] = _nothing,
) -> dict[str, Any] | None:
    """The state in the last intact checkpoint; `warn` gets a line for each that is damaged.

    `like(name)` is the tensor as whose saved tensors of that name are divided. `None` if there is
    no intact checkpoint. Raises RunError if the processes see different ones.
    """

    def read(name: str, saved: SavedPieces) -> Tensor:
        return strategy.part(saved, like(name))

    paths = list_checkpoints(folder)
    lists = strategy.gather(json.dumps([path.name for path in paths]))
    if other := next((rank for rank, names in enumerate(lists) if names != lists[0]), None):
        raise RunError(
            f"{folder}: process {other} finds other checkpoints than process 0; all need the same"
            " run folder, on a file system that they share"
        )
    for path in reversed(paths):
        saved, fault = None, ""
        try:
            saved = load_snapshot(path, read, rank=strategy.rank, ranks=strategy.ranks)
        except RunError as error:
            fault = str(error)
        faults = [some for some in strategy.gather(fault) if some]
        if saved is not None and not faults:
            return {"step": saved.step, **saved.tensors, **saved.facts}
        if not strategy.rank:
            warn(f"{faults[0]}; this checkpoint is skipped")
    return None
