"""One shard of prepared clips, written so that it is complete or absent."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from harmony_parts.errors import RunError
from harmony_parts.media.files import flush, replace_text
from harmony_parts.sources.shard_files import (
    TENSORS,
    TEXTS,
    add_member,
    clip_bytes,
    clip_key,
    shard_name,
)


class ShardWriter:
    """The shard of that number in a folder: clips are added, and a line is kept for each."""

    def __init__(self, tar: tarfile.TarFile, number: int) -> None:
        self.tar, self.number = tar, number
        self.lines: list[dict[str, Any]] = []

    def keep(
        self,
        clip: int,
        tensors: Mapping[str, Tensor],
        texts: Mapping[str, Any],
        facts: Mapping[str, Any],
    ) -> None:
        """Add a clip. `facts` go into its line."""
        members = clip_bytes(tensors, texts)
        key = clip_key(clip)
        offsets = [
            add_member(self.tar, key + suffix, data)
            for suffix, data in zip((TENSORS, TEXTS), members)
        ]
        sizes = [len(data) for data in members]
        place = {
            "shard": self.number,
            "offset": offsets[0],
            "sizes": sizes,
            "gap": offsets[1] - offsets[0] - sizes[0],
            "sha256": hashlib.sha256(members[0] + members[1]).hexdigest(),
        }
        self.lines.append({"clip": clip, "kept": True, **facts, **place})

    def drop(self, clip: int, by: str, why: str, facts: Mapping[str, Any]) -> None:
        """Note that a clip is left out: what decided it, and the reason."""
        self.lines.append({"clip": clip, "kept": False, "by": by, "why": why, **facts})


@contextmanager
def write_shard(folder: Path, number: int) -> Iterator[ShardWriter]:
    """Write a shard; its lines are written last, which is what makes it complete.

    Raises RunError if the disk refuses; what was written of the shard is then removed.
    """
    target = folder / shard_name(number)
    part = folder / f".{target.name}.part"
    try:
        with tarfile.open(part, "w", format=tarfile.USTAR_FORMAT) as tar:
            writer = ShardWriter(tar, number)
            yield writer
        flush(part)
        os.replace(part, target)
        lines = "".join(json.dumps(line, ensure_ascii=True) + "\n" for line in writer.lines)
        replace_text(lines_file(folder, number), lines)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise RunError(
            f"{target}: can't be written: {error}; the shards before it are kept: make room, and"
            " run the same command again"
        ) from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def lines_file(folder: Path, number: int) -> Path:
    """The file of a shard's lines."""
    return (folder / shard_name(number)).with_suffix(".jsonl")


def is_complete(folder: Path, number: int) -> bool:
    """Whether the shard and its lines are there."""
    return lines_file(folder, number).is_file() and (folder / shard_name(number)).is_file()


def read_lines(folder: Path, number: int) -> list[dict[str, Any]]:
    """The lines of a complete shard."""
    lines = lines_file(folder, number).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]
