"""The report of a conversion: what happened to every tensor."""

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
class TensorRecord:
    """One tensor: its names and shapes in our model and in the checkpoint `source`."""

    fate: Fate
    ours: str | None = None
    theirs: str | None = None
    shape: tuple[int, ...] | None = None
    their_shape: tuple[int, ...] | None = None
    dtype: str | None = None
    source: str | None = None

    @property
    def numbers(self) -> int:
        """The number of elements."""
        total = 1
        for axis in self.shape or self.their_shape or ():
            total *= axis
        return total


@attrs.frozen
class Report:
    """All tensors of a conversion; `not_finite` are our names of those with NaN or infinity.

    `notes` say what was chosen and left out of the checkpoint.
    """

    tensors: tuple[TensorRecord, ...]
    not_finite: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def fates(self, fate: Fate) -> list[TensorRecord]:
        """The tensors with that fate."""
        return [record for record in self.tensors if record.fate == fate]

    @property
    def fresh(self) -> tuple[str, ...]:
        """The parts with newly initialised tensors, by the groups of `table`."""
        return tuple(dict.fromkeys(map(_group, self.fates("initialised"))))

    def table(self) -> Iterator[tuple[str, str, int, int]]:
        """Rows (fate, group of names, tensors, elements); all layers of one kind are a group."""
        groups: dict[tuple[str, str], tuple[int, int]] = {}
        for record in self.tensors:
            key = (record.fate, _group(record))
            tensors, numbers = groups.get(key, (0, 0))
            groups[key] = (tensors + 1, numbers + record.numbers)
        for fate in FATES:
            for (of, group), (tensors, numbers) in groups.items():
                if of == fate:
                    yield fate, group, tensors, numbers

    def json(self) -> str:
        """The report as JSON: counts, `not_finite`, `notes`, and a row for each tensor."""
        rows: list[dict[str, Any]] = [
            attrs.asdict(record, filter=lambda _, value: value is not None)
            for record in self.tensors
        ]
        counts = {fate: len(self.fates(fate)) for fate in FATES}
        return json.dumps(
            {
                "counts": counts,
                "not_finite": self.not_finite,
                "notes": self.notes,
                "tensors": rows,
            },
            indent=1,
        )


def _group(record: TensorRecord) -> str:
    """The module that a tensor is in, without the layer's number: `denoiser.blocks.*.video`."""
    name = record.ours or record.theirs or ""
    name = re.sub(r"\.\d+\.", ".*.", name, count=1)
    steps = name.split(".")
    if "blocks" in steps:
        return ".".join(steps[: steps.index("blocks") + 3])
    return ".".join(steps[:3] if steps[0] == "denoiser" else steps[:2])


def mapped(ours: str, theirs: str, tensor: Tensor, their: Tensor, source: str) -> TensorRecord:
    """A tensor that is in the model and in the checkpoint."""
    return TensorRecord(
        "mapped",
        ours,
        theirs,
        tuple(tensor.shape),
        tuple(their.shape),
        str(tensor.dtype).removeprefix("torch."),
        source,
    )


def unused(theirs: str, their: Tensor, source: str) -> TensorRecord:
    """A tensor of the checkpoint that the model doesn't have."""
    return TensorRecord(
        "unused",
        theirs=theirs,
        their_shape=tuple(their.shape),
        dtype=str(their.dtype).removeprefix("torch."),
        source=source,
    )


def initialised(ours: str, tensor: Tensor) -> TensorRecord:
    """A tensor of the model that no checkpoint has."""
    return TensorRecord(
        "initialised",
        ours,
        shape=tuple(tensor.shape),
        dtype=str(tensor.dtype).removeprefix("torch."),
    )
