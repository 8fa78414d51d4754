"""Several sources at given ratios."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from harmony_parts.av import AV, fraction
from harmony_parts.errors import AssemblyError
from harmony_parts.plugin import knob
from harmony_parts.sources.protocol import Group, PreparedClip, Reader, SourceSpec


@attrs.frozen
class Part:
    """A source and its share of the clips that are drawn."""

    source: SourceSpec = knob(help="the source")
    share: float = knob(
        1.0,
        help="how many clips are drawn from it, relative to the other shares",
        converter=float,
        validator=attrs.validators.gt(0),
    )


@attrs.frozen
class Mix:
    """Clips of several sources, drawn by `share`, whatever the number of clips in each.

    Inside a source, clips keep the shares that they have there. Where all sources have clips of one
    shape, each batch has the shares, to within a clip. A small source is repeated while a large one
    goes on. Raises AssemblyError without a part.
    """

    parts: tuple[Part, ...] = knob((), help="the sources and their shares", converter=tuple)

    def build(self, *, root: str | Path | None = None) -> MixReader:
        """The sources, each opened in `root`; their own setting `where` tells them apart."""
        if not self.parts:
            raise AssemblyError("$.parts: a mix needs at least one source")
        return MixReader(
            tuple(part.source.build(root=root) for part in self.parts),
            tuple(fraction(part.share) for part in self.parts),
        )


@attrs.define(eq=False, slots=False)
class MixReader:
    """The clips of several readers, numbered one after the other."""

    readers: tuple[Reader, ...]
    shares: tuple[Fraction, ...]

    @cached_property
    def firsts(self) -> list[int]:
        """The number of the first clip of each reader, and the number of clips."""
        return np.cumsum([0, *map(len, self.readers)]).tolist()

    def __len__(self) -> int:
        return self.firsts[-1]

    @property
    def identity(self) -> str:
        """Those of the readers, with their shares."""
        pairs = zip(self.readers, self.shares)
        return " ".join(f"{share}*({reader.identity})" for reader, share in pairs)

    @property
    def made_with(self) -> Sequence[Mapping[str, Any]]:
        """What made the clips of any reader."""
        return [facts for reader in self.readers for facts in reader.made_with]

    @property
    def streams(self) -> Sequence[str]:
        """The streams that the clips of all readers have."""
        first, *others = (reader.streams for reader in self.readers)
        return [stream for stream in first if all(stream in other for other in others)]

    @cached_property
    def groups(self) -> Sequence[Group]:
        """Those of the readers, each reader with its share of the whole."""
        groups = []
        for first, reader, share in zip(self.firsts, self.readers, self.shares):
            own = reader.groups
            whole = sum((group.share for group in own), Fraction(0))
            groups += [Group(first + g.clips, share * g.share / whole) for g in own]
        return groups

    @cached_property
    def shapes(self) -> Sequence[AV[tuple[int, ...]]]:
        """The shapes of all readers, equal ones once."""
        return self._numbered[0]

    @cached_property
    def shape_of(self) -> np.ndarray:
        """int [N]."""
        return self._numbered[1]

    @cached_property
    def _numbered(self) -> tuple[list[AV[tuple[int, ...]]], np.ndarray]:
        known: dict[tuple[Any, Any], int] = {}
        shapes: list[AV[tuple[int, ...]]] = []
        numbers = []
        streams = self.streams
        for reader in self.readers:
            own = []
            for shape in reader.shapes:
                kept = shape.only(streams)  # a stream that others lack divides nothing
                key = (kept.video, kept.audio)
                if key not in known:
                    known[key] = len(shapes)
                    shapes.append(kept)
                own.append(known[key])
            numbers.append(np.array(own, dtype=np.int32)[reader.shape_of])
        return shapes, np.concatenate(numbers)

    def read(self, clip: int, round: int, streams: Sequence[str]) -> PreparedClip:
        """The clip of the reader whose numbers it lies in."""
        which = int(np.searchsorted(self.firsts, clip, side="right")) - 1
        return self.readers[which].read(clip - self.firsts[which], round, streams)
