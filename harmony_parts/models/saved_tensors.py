"""Tensors in files, of which parts can be read: whole, or in the pieces of several processes.

A folder of pieces is what torch.distributed.checkpoint writes with its `HuggingFaceStorageWriter`:
safetensors files whose header says where each piece begins in its tensor.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor

from harmony_parts.errors import RunError
from harmony_parts.models.tensor_files import TYPES, open_tensors

HEADER = "DCP_SHARDING_INFO"  # torch's name in a file's header: tensor -> {"saved_offsets": [...]}
DTYPES = {name: dtype for dtype, name in TYPES.items()}


@attrs.frozen(eq=False)
class Piece:
    """A tensor of an open safetensors file, and where it begins in the whole tensor."""

    file: Any
    name: str
    begin: tuple[int, ...]
    shape: tuple[int, ...]

    def read(self, begin: Sequence[int], end: Sequence[int]) -> Tensor:
        """The part of this piece between these indices."""
        if not self.shape:
            tensor: Tensor = self.file.get_tensor(self.name)
            return tensor
        chosen = tuple(slice(b, e) for b, e in zip(begin, end, strict=True))
        part: Tensor = self.file.get_slice(self.name)[chosen]
        return part


@attrs.frozen(eq=False)
class SavedPieces:
    """A tensor in one or more pieces."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    pieces: tuple[Piece, ...]

    def read(self, begin: Sequence[int] = (), shape: Sequence[int] | None = None) -> Tensor:
        """The part of this shape that begins at these indices; by default all of it."""
        shape = self.shape if shape is None else tuple(shape)
        begin = begin or (0,) * len(shape)
        first = self.pieces[0]
        if len(self.pieces) == 1:
            return first.read(begin, [b + n for b, n in zip(begin, shape, strict=True)])
        result = torch.empty(shape, dtype=self.dtype)
        for piece in self.pieces:
            # where the piece and the part overlap, in the whole tensor
            low = [max(b, p) for b, p in zip(begin, piece.begin, strict=True)]
            high = [
                min(b + n, p + m)
                for b, n, p, m in zip(begin, shape, piece.begin, piece.shape, strict=True)
            ]
            if all(one < other for one, other in zip(low, high, strict=True)):
                place = tuple(slice(x - b, y - b) for x, y, b in zip(low, high, begin, strict=True))
                result[place] = piece.read(
                    *(
                        [x - p for x, p in zip(some, piece.begin, strict=True)]
                        for some in (low, high)
                    )
                )
        return result


def saved_tensors(path: Path) -> dict[str, SavedPieces]:
    """Name -> tensor of a safetensors file, or of a folder of them.

    Raises RunError if a file can't be read, or a piece of a tensor is missing.
    """
    found: dict[str, list[tuple[torch.dtype, Piece]]] = {}
    for file in tensor_files(path):
        opened = open_tensors(file)
        begins = json.loads((opened.metadata() or {}).get(HEADER, "{}"))
        for name in opened.keys():  # noqa: SIM118 (not a mapping)
            part = opened.get_slice(name)
            shape = tuple(part.get_shape())
            begin = tuple(begins[name]["saved_offsets"]) if name in begins else (0,) * len(shape)
            if part.get_dtype() not in DTYPES:
                raise RunError(f"{file}: {name} has the unsupported type {part.get_dtype()}")
            piece = Piece(opened, name, begin, shape)
            found.setdefault(name, []).append((DTYPES[part.get_dtype()], piece))
    return {name: _joined(path, name, pieces) for name, pieces in found.items()}


def meta_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file or a folder on the meta device: only shapes and types.

    Raises RunError if a file can't be read, or has a type that torch here doesn't.
    """
    return {
        name: torch.empty(saved.shape, dtype=saved.dtype, device="meta")
        for name, saved in saved_tensors(path).items()
    }


def iter_tensors(path: Path) -> Iterator[tuple[str, Tensor]]:
    """(name, tensor) of each tensor of a file or a folder, in the order of the files."""
    for name, saved in saved_tensors(path).items():
        yield name, saved.read()


def tensor_files(path: Path) -> Iterator[Path]:
    """A file itself, or the safetensors files of a folder, by name."""
    yield from sorted(path.glob("*.safetensors")) if path.is_dir() else (path,)


def _joined(path: Path, name: str, found: Sequence[tuple[torch.dtype, Piece]]) -> SavedPieces:
    pieces = tuple(piece for _, piece in found)
    ends = [[b + n for b, n in zip(p.begin, p.shape, strict=True)] for p in pieces]
    shape = tuple(max(each) for each in zip(*ends, strict=True))
    if sum(math.prod(piece.shape) for piece in pieces) != math.prod(shape):
        raise RunError(f"{path}: pieces of {name} are missing, or are there twice")
    return SavedPieces(shape, found[0][0], pieces)
