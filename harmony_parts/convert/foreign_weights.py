"""Checkpoints of other projects: safetensors, shards or torch.save files, read tensor by tensor.

No code in a checkpoint is ever run.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from harmony_parts.convert.state_dicts import (
    SHOWN,
    StateDict,
    find_state_dict,
    lora_name,
    plain_names,
    split_groups,
)
from harmony_parts.errors import RunError
from harmony_parts.models.file_kinds import AGAIN, PICKLE, ZIP, is_safetensors, not_weights
from harmony_parts.models.saved_tensors import meta_tensors
from harmony_parts.models.tensor_files import indexed_shards, open_tensors, tensor_bytes

# bytes that are read before files are reopened: pages of a mapped file count as memory until it is
# closed
RELEASE = 2**27
NUMBERED = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.safetensors")
FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
BUFFERS = (torch.complex64, torch.complex128, torch.int64, torch.bool)
"""Types of buffers, such as tables of positions; quantised weights have others."""
GLOBAL = re.compile(r"GLOBAL ([\w.]+)")


class ForeignWeights:
    """The tensors of a .safetensors file, a folder of shards, or a .pt file, read on demand.

    `shapes`: name -> a meta tensor of the same shape and type, without the prefixes and wrappers
    that all names share; `notes` say what was chosen and left out. `key` chooses among the state
    dicts of a file (in .safetensors: the names that begin with it).
    """

    def __init__(self, path: Path, key: str | None = None) -> None:
        """Raises RunError, naming the file, if one is missing or damaged, would run code, has
        tensors that are quantised, or is a LoRA.
        """
        self.path, self.files, self.key = Path(path), _files(Path(path)), key
        self.shapes: dict[str, Tensor] = {}
        self.notes: tuple[str, ...] = ()
        self._given: dict[str, str] = {}  # our name -> the file's
        self._file_of: dict[str, Path] = {}
        self._open: dict[Path, Callable[[str], Tensor]] = {}
        self._read = 0
        shapes = self._read_shapes()
        if name := lora_name(shapes):
            raise RunError(
                f"{path}: is a LoRA or has one unmerged (it has {name}): low-rank changes to a"
                " model, not a model; merge it into the model that it was made for, and convert"
                " that"
            )
        self._name(self._check_types(shapes))

    def _read_shapes(self) -> dict[str, Tensor]:
        """The file's name -> meta tensor, of all files."""
        found: dict[str, Tensor] = {}
        for file in self.files:
            if file.suffix == ".safetensors":
                shapes = meta_tensors(file)
            else:
                state = _pickled(file, self.key)
                shapes = {name: tensor.to("meta") for name, tensor in state.tensors.items()}
                self.notes += state.notes
            if duplicates := sorted(self._file_of.keys() & shapes.keys()):
                name = duplicates[0]
                raise RunError(
                    f"{self.path}: {name} is in {self._file_of[name].name} and in {file.name}:"
                    " the folder has several models; name one file"
                )
            found |= shapes
            self._file_of |= dict.fromkeys(shapes, file)
        if self.files[0].suffix == ".safetensors":
            return self._of_key(found)
        return found

    def _of_key(self, shapes: dict[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of one of several state dicts in a flat file."""
        groups = split_groups(shapes)
        if self.key is not None:
            groups = {self.key: [name for name in shapes if name.startswith(f"{self.key}.")]}
            if not groups[self.key]:
                firsts = list(dict.fromkeys(name.partition(".")[0] for name in shapes))
                raise RunError(
                    f"{self.path}: no name begins with {self.key!r}; names begin with"
                    f" {', '.join(firsts[:SHOWN])}"
                )
        if len(groups) < 2 and self.key is None:
            return shapes
        nested = {key: {n: shapes[n] for n in names} for key, names in groups.items()}
        state = find_state_dict(nested, self.key)
        self.notes += state.notes
        prefix = f"{state.key}."
        self._given = {name.removeprefix(prefix): name for name in state.tensors}
        return {name.removeprefix(prefix): tensor for name, tensor in state.tensors.items()}

    def _check_types(self, shapes: dict[str, Tensor]) -> dict[str, Tensor]:
        """The tensors that are weights: buffers of other types are left out, quantised refused."""
        other = [name for name, tensor in shapes.items() if tensor.dtype not in FLOATS]
        quantised = [name for name in other if shapes[name].dtype not in BUFFERS]
        if quantised:
            raise RunError(
                f"{self.path}: {len(quantised)} tensors have another type than float16, bfloat16,"
                f" float32 or float64, such as {quantised[0]}"
                f" ({shapes[quantised[0]].dtype}): a quantised checkpoint can't be converted;"
                " convert the original one"
            )
        if other:
            self.notes += (
                f"{len(other)} buffers that aren't weights were left out, such as {other[0]}"
                f" ({str(shapes[other[0]].dtype).removeprefix('torch.')})",
            )
        return {name: tensor for name, tensor in shapes.items() if name not in other}

    def _name(self, shapes: dict[str, Tensor]) -> None:
        """Set `shapes` under names without prefixes and wrappers."""
        plain, removed = plain_names(list(shapes))
        if removed:
            self.notes += (f"left out of all names: {removed}",)
        self.shapes = {name: shapes[given] for name, given in plain.items()}
        self._given = {name: self._given.get(given, given) for name, given in plain.items()}

    def __getitem__(self, name: str) -> Tensor:
        """The tensor of that name; it may be memory mapped from the file."""
        if self._read > RELEASE:
            self._open.clear()
            self._read = 0
        given = self._given[name]
        file = self._file_of[given]
        if file not in self._open:
            self._open[file] = (
                open_tensors(file).get_tensor
                if file.suffix == ".safetensors"
                else _pickled(file, self.key).tensors.__getitem__
            )
        self._read += tensor_bytes(self.shapes[name])
        return self._open[file](given)

    def digests(self) -> dict[str, str]:
        """File name -> SHA-256."""
        digests = {}
        for file in self.files:
            with file.open("rb") as stream:
                digests[file.name] = hashlib.file_digest(stream, "sha256").hexdigest()
        return digests


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return indexed_shards(path) if path.name.endswith(".index.json") else [path]
    if not path.is_dir():
        raise RunError(f"{path}: no such file or folder")
    for place in (path, path / "transformer"):  # the second in a pipeline of diffusers
        indices, files = (
            sorted(place.glob("*.safetensors.index.json")),
            sorted(place.glob("*.safetensors")),
        )
        if len(indices) > 1:
            raise RunError(
                f"{place}: has {len(indices)} shard indices"
                f" ({', '.join(index.name for index in indices)}); name one"
            )
        if indices:
            return indexed_shards(indices[0])
        if files:
            _check_complete(files)
            return files
    raise RunError(f"{path}: no .safetensors file in this folder; name a .pt or .pth file directly")


def _check_complete(files: list[Path]) -> None:
    """Raise RunError if files are numbered and one is missing."""
    existing = {file.name for file in files}
    for file in files:
        if match := NUMBERED.fullmatch(file.name):
            last = int(match[3])
            wanted = [f"{match[1]}-{n:05}-of-{last:05}.safetensors" for n in range(1, last + 1)]
            if missing := [name for name in wanted if name not in existing]:
                raise RunError(
                    f"{file.parent}: of {last} shards these are missing: {', '.join(missing[:8])};"
                    " download them again"
                )


def _pickled(path: Path, key: str | None) -> StateDict:
    """The weights of a torch.save file, memory-mapped.

    torch's weights-only reader creates nothing but tensors and plain containers.
    """
    try:
        if fault := not_weights(path):
            raise RunError(f"{path}: can't be read: it {fault}")
        content: Any = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except UnpicklingError as error:
        found = GLOBAL.search(str(error))
        raise RunError(
            f"{path}: has more than plain tensors{f' ({found[1]})' if found else ''}, and nothing"
            " else is read since it could run code; save the tensors alone, with"
            " torch.save(checkpoint['state_dict'], ...) or the key that they are under"
        ) from error
    except (RuntimeError, OSError, EOFError, ValueError) as error:
        raise RunError(f"{path}: can't be read: {_cause(path, error)}") from error
    try:
        return find_state_dict(content, key)
    except RunError as error:
        raise RunError(f"{path}: {error}") from None


def _cause(path: Path, error: Exception) -> str:
    """Why torch can't read a file, in our words: its own speak of its insides."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if is_safetensors(path):
        return "it is a safetensors file: rename it to end in .safetensors"
    with path.open("rb") as file:
        head = file.read(4)
    if head.startswith(PICKLE):
        # files from before PyTorch 1.6 are pickles
        return "it has the format from before PyTorch 1.6: save it again with torch.save"
    if head == ZIP:
        return f"it is damaged, or cut at {path.stat().st_size:,} bytes: {AGAIN}"
    return "it is neither a .safetensors nor a torch.save file"
