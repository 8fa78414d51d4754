"""A checkpoint that several processes write together, by torch.distributed.checkpoint."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter

from harmony_parts.errors import RunError
from harmony_parts.media.files import cause_on_disk, flush
from harmony_parts.models.snapshot import (
    Snapshot,
    begin_partial,
    complete,
    file_digest,
    partial,
)
from harmony_parts.strategies.protocol import Strategy


def write_together(target: Path, snapshot: Snapshot, strategy: Strategy) -> None:
    """Write the folder `target`, atomically: each process its parts of the tensors, none twice.

    A group of tensors is a folder of safetensors files, with a file of each process that has some
    of it. The folder gets its name when all have written. Raises RunError in every process if one
    of them can't write.
    """
    part = partial(target)
    with _jointly(strategy, target):
        if not strategy.rank:
            begin_partial(part)
            for group in snapshot.tensors:
                (part / group).mkdir()
    with _jointly(strategy, target):
        for group, tensors in snapshot.tensors.items():
            _write(part / group, tensors)
    with _jointly(strategy, target):
        own = sorted(part.glob(f"*/shard-{strategy.rank + 1:05d}-*.safetensors"))
        digests = {path.relative_to(part).as_posix(): file_digest(path) for path in own}
    written = [json.loads(text) for text in strategy.gather(json.dumps(digests))]
    with _jointly(strategy, target):
        if not strategy.rank:
            files = {name: digest for some in written for name, digest in some.items()}
            for group in snapshot.tensors:
                flush(part / group)
            complete(target, snapshot.step, snapshot.facts, files)


def _write(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """The parts of this process. Raises OSError in every process if one can't write."""
    writer = HuggingFaceStorageWriter(str(folder), save_distributed=True)
    try:
        dcp.save({name: x.detach() for name, x in tensors.items()}, storage_writer=writer)
    except CheckpointException as error:
        rank, (cause, _) = next(iter(error.failures.items()))
        raise OSError(f"process {rank}: {cause}") from None


@contextmanager
def _jointly(strategy: Strategy, target: Path) -> Iterator[None]:
    """An error of writing in one process becomes RunError in all of them, and nothing is left."""
    fault = ""
    try:
        yield
    except OSError as error:
        fault = cause_on_disk(error, target)
    faults = [some for some in strategy.gather(fault) if some]
    if faults:
        if not strategy.rank:
            shutil.rmtree(partial(target), ignore_errors=True)
        raise RunError(f"{target}: can't be written: {faults[0]}")
