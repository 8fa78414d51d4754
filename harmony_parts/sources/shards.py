"""Prepared clips from the tar shards that `harmony prepare` wrote."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from harmony_parts.av import AV, STREAMS
from harmony_parts.errors import AssemblyError, MediaError
from harmony_parts.plugin import knob
from harmony_parts.sources.protocol import Group, PreparedClip
from harmony_parts.sources.shard_files import (
    FACTS,
    INDEX,
    NULL,
    VERSION,
    Index,
    Storage,
    parse_clip,
)

SHARD = re.compile(r"shard-\d{5,}\.tar")


@attrs.frozen
class Shards:
    """Clips that `harmony prepare` wrote. Each is read when it is wanted, as a range of bytes.

    The place is `where`, or, if that is relative, `where` in the folder or URL of `--data`. Its
    index is held in memory, about 70 bytes a clip. Every clip's bytes are compared with their
    SHA-256; nothing is unpickled, and nothing is unpacked to the disk. Raises MediaError if the
    place holds no whole preparation, a shard is missing or has another size, or an index is
    damaged; AssemblyError without a place.
    """

    where: str = knob(
        "",
        help="folder or URL; relative ones are in the folder of --data",
        off="",
    )

    def build(self, *, root: str | Path | None = None) -> ShardReader:
        """Open the index, and compare the sizes of all shards with it."""
        absolute = "://" in self.where or Path(self.where).is_absolute()
        if root is None and not absolute:
            raise AssemblyError(
                "$.source.where: prepared clips are read from a folder: pass --data DIR (in Python:"
                " data_root=DIR), or set it to an absolute path or a URL"
            )
        storage = Storage(self.where) if absolute else Storage(str(root)) / self.where
        facts = _facts(storage)
        index = _opened(storage, INDEX, Index.from_bytes)
        null = _opened(storage, NULL, _tensors)
        for shard in facts["shards"]:
            _check_size(storage, shard)
        if len(index) != sum(shard["clips"] for shard in facts["shards"]):
            raise MediaError(f"{storage.place}/{INDEX}: doesn't belong to {FACTS}")
        return ShardReader(storage, facts, index, null)


def _facts(storage: Storage) -> dict[str, Any]:
    facts = _opened(storage, FACTS, json.loads)
    try:
        if facts["version"] != VERSION:
            raise MediaError(
                f"{storage.place}/{FACTS}: has version {facts['version']}, and this library reads"
                f" {VERSION}: prepare the clips again"
            )
        wrong = [s["name"] for s in facts["shards"] if not SHARD.fullmatch(s["name"])]
        lacking = {"made_with", "shapes", "streams", "key"} - facts.keys()
        lacking = lacking.union(*({"bytes", "clips"} - s.keys() for s in facts["shards"]))
    except (KeyError, TypeError) as error:
        raise MediaError(f"{storage.place}/{FACTS}: lacks {error}") from error
    if wrong:
        raise MediaError(f"{storage.place}/{FACTS}: names {wrong[0]!r}, which isn't a shard")
    if lacking:
        raise MediaError(f"{storage.place}/{FACTS}: lacks {', '.join(sorted(lacking))}")
    return dict(facts)


def _opened(storage: Storage, name: str, parse: Any) -> Any:
    try:
        return parse(storage.read(name))
    except FileNotFoundError as error:
        raise MediaError(
            f"{storage.place}: has no {name}: it isn't a folder of prepared clips, or `harmony"
            " prepare` hasn't finished it"
        ) from error
    except (OSError, ValueError, SafetensorError) as error:
        raise MediaError(f"{storage.place}/{name}: can't be read: {error}") from error


def _tensors(data: bytes) -> dict[str, Tensor]:
    return safetensors.torch.load(data)


def _check_size(storage: Storage, shard: Mapping[str, Any]) -> None:
    name = shard["name"]
    try:
        size = storage.size(name)
    except OSError as error:
        raise MediaError(f"{storage.place}/{name}: can't be read: {error}") from error
    if size != shard["bytes"]:
        raise MediaError(
            f"{storage.place}/{name}: has {size} bytes instead of {shard['bytes']}: copy it again,"
            " or delete it with its .jsonl and run `harmony prepare` again"
        )


@attrs.define(eq=False, slots=False)
class ShardReader:
    """The clips of `Shards`."""

    storage: Storage
    facts: Mapping[str, Any]
    index: Index
    null: Mapping[str, Tensor]

    def __len__(self) -> int:
        return len(self.index)

    @property
    def identity(self) -> str:
        """The key of the preparation, and the number of clips."""
        return f"{self.facts['key']}:{len(self)}"

    @property
    def made_with(self) -> Sequence[Mapping[str, Any]]:
        """One preparation."""
        return [self.facts["made_with"]]

    @property
    def streams(self) -> Sequence[str]:
        """The streams of the codecs that encoded the clips."""
        return [stream for stream in STREAMS if stream in self.facts["streams"]]

    @cached_property
    def groups(self) -> Sequence[Group]:
        """All clips alike."""
        return [Group(np.arange(len(self)), Fraction(1))] if len(self) else []

    @cached_property
    def shapes(self) -> Sequence[AV[tuple[int, ...]]]:
        """The shapes that the index names."""
        return [
            AV(**{s: tuple(shape[s]) for s in STREAMS if s in shape})
            for shape in self.facts["shapes"]
        ]

    @property
    def shape_of(self) -> np.ndarray:
        """int32 [N]."""
        return self.index.shape

    def read(self, clip: int, round: int, streams: Sequence[str]) -> PreparedClip:
        """The clip, by one range of bytes."""
        index = self.index
        name = self.facts["shards"][int(index.shard[clip])]["name"]
        sizes, gap = index.sizes[clip].tolist(), int(index.gap[clip])
        offset, size = int(index.offset[clip]), sum(sizes) + gap
        try:
            data = self.storage.read_range(name, offset, size)
            digest = index.sha256[clip].tobytes()
            return parse_clip(data, sizes, gap, digest, self.null, round, streams)
        except (OSError, ValueError, KeyError) as error:
            raise MediaError(
                f"{self.storage.place}/{name}: clip {clip}, at byte {offset}: {error}"
            ) from error
