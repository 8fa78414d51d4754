"""What became of every tensor in a conversion."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Literal, get_args

import attrs
from torch import Tensor

Fate = Literal["mapped", "initialised", "unused"]
FATES: tuple[Fate, ...] = get_args(Fate)


@attrs.frozen
class Entry:
    """One tensor: `ours` and `theirs` are its names and shapes, as far as it has them; `source` is
    the checkpoint that has it.
    """

    fate: Fate
    ours: str | None = None
    theirs: str | None = None
    shape: tuple[int, ...] | None = None
    their_shape: tuple[int, ...] | None = None
    dtype: str | None = None
    source: str | None = None

    @property
    def numbers(self) -> int:
        """How many it holds."""
        total = 1
        for axis in self.shape or self.their_shape or ():
            total *= axis
        return total


@attrs.frozen
class Report:
    """All tensors of a conversion, and those (by our names) that hold numbers that aren't
    finite.
    """

    entries: tuple[Entry, ...]
    not_finite: tuple[str, ...] = ()

    def fates(self, fate: Fate) -> list[Entry]:
        """Those that it became of."""
        return [entry for entry in self.entries if entry.fate == fate]

    @property
    def fresh(self) -> tuple[str, ...]:
        """The parts of which some tensors, or all, start fresh, by the groups of `table`; empty
        where a checkpoint has everything.
        """
        return tuple(dict.fromkeys(map(_group, self.fates("initialised"))))

    def table(self) -> Iterator[tuple[str, str, int, int]]:
        """Rows (fate, group of names, tensors, numbers); layers of one kind are one group."""
        groups: dict[tuple[str, str], tuple[int, int]] = {}
        for entry in self.entries:
            key = (entry.fate, _group(entry))
            tensors, numbers = groups.get(key, (0, 0))
            groups[key] = (tensors + 1, numbers + entry.numbers)
        for fate in FATES:
            for (of, group), (tensors, numbers) in groups.items():
                if of == fate:
                    yield fate, group, tensors, numbers

    def json(self) -> str:
        """All of it."""
        rows: list[dict[str, Any]] = [
            attrs.asdict(entry, filter=lambda _, value: value is not None) for entry in self.entries
        ]
        counts = {fate: len(self.fates(fate)) for fate in FATES}
        return json.dumps(
            {"counts": counts, "not_finite": self.not_finite, "tensors": rows}, indent=1
        )


def _group(entry: Entry) -> str:
    """Where a tensor is, without the layer's number and without its own name:
    `denoiser.blocks.*.video`.
    """
    name = entry.ours or entry.theirs or ""
    name = re.sub(r"\.\d+\.", ".*.", name, count=1)
    steps = name.split(".")
    if "blocks" in steps:
        return ".".join(steps[: steps.index("blocks") + 3])
    return ".".join(steps[:3] if steps[0] == "denoiser" else steps[:2])


def mapped(ours: str, theirs: str, tensor: Tensor, their: Tensor, source: str) -> Entry:
    """A tensor that both have."""
    return Entry(
        "mapped",
        ours,
        theirs,
        tuple(tensor.shape),
        tuple(their.shape),
        str(tensor.dtype).removeprefix("torch."),
        source,
    )


def unused(theirs: str, their: Tensor, source: str) -> Entry:
    """A tensor that this model hasn't."""
    return Entry(
        "unused",
        theirs=theirs,
        their_shape=tuple(their.shape),
        dtype=str(their.dtype).removeprefix("torch."),
        source=source,
    )


def initialised(ours: str, tensor: Tensor) -> Entry:
    """A tensor that no checkpoint has."""
    return Entry(
        "initialised",
        ours,
        shape=tuple(tensor.shape),
        dtype=str(tensor.dtype).removeprefix("torch."),
    )
