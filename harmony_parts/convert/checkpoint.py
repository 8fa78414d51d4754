"""Checkpoints of other projects: safetensors, shards of them, or torch.save, read tensor by tensor.
Nothing in a checkpoint is ever run.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from harmony_parts.errors import RunError
from harmony_parts.models.tensor_files import (
    indexed_shards,
    meta_tensors,
    open_tensors,
    tensor_bytes,
)

# bytes that are read before files are opened anew: pages of a mapped file count as memory until it
# is closed
RELEASE = 2**27
WHERE = (("app", "model"), ("module",), ("model",), ("state_dict",))
"""Where the weights are in what torch.save wrote: Ovi's training writes the first two."""
NUMBERED = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.safetensors")
FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


class Checkpoint:
    """The tensors of a .safetensors file, of a folder of shards, or of a .pt file. `described` has
    their shapes and types, without numbers.
    """

    def __init__(self, path: Path) -> None:
        """Raises RunError, naming the file: it isn't there, isn't whole, would run code, or holds
        numbers that are no plain floats.
        """
        self.path, self.files = Path(path), _files(Path(path))
        self.described: dict[str, Tensor] = {}
        self._file: dict[str, Path] = {}
        self._open: dict[Path, Callable[[str], Tensor]] = {}
        self._read = 0
        for file in self.files:
            found = (
                meta_tensors(file)
                if file.suffix == ".safetensors"
                else {n: t.to("meta") for n, t in _pickled(file).items()}
            )
            if twice := sorted(self._file.keys() & found.keys()):
                raise RunError(
                    f"{path}: {twice[0]} is in {self._file[twice[0]].name} and in {file.name}:"
                    " these are several models; name one file"
                )
            self.described |= found
            self._file |= dict.fromkeys(found, file)
        if strange := [
            name for name, tensor in self.described.items() if tensor.dtype not in FLOATS
        ]:
            raise RunError(
                f"{path}: {len(strange)} tensors hold numbers of another type than float16,"
                f" bfloat16, float32 or float64, such as {strange[0]}"
                f" ({self.described[strange[0]].dtype}): a quantised checkpoint can't be converted;"
                " take the one that it was made of"
            )

    def __getitem__(self, name: str) -> Tensor:
        """The tensor of that name, which may be memory of the file."""
        if self._read > RELEASE:
            self._open.clear()
            self._read = 0
        file = self._file[name]
        if file not in self._open:
            self._open[file] = (
                open_tensors(file).get_tensor
                if file.suffix == ".safetensors"
                else _pickled(file).__getitem__
            )
        self._read += tensor_bytes(self.described[name])
        return self._open[file](name)

    def digests(self) -> dict[str, str]:
        """File name -> SHA-256."""
        found = {}
        for file in self.files:
            with file.open("rb") as stream:
                found[file.name] = hashlib.file_digest(stream, "sha256").hexdigest()
        return found


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return indexed_shards(path) if path.name.endswith(".index.json") else [path]
    if not path.is_dir():
        raise RunError(f"{path}: no such file or folder")
    for place in (path, path / "transformer"):  # the second: a pipeline of diffusers
        indices, files = (
            sorted(place.glob("*.safetensors.index.json")),
            sorted(place.glob("*.safetensors")),
        )
        if len(indices) > 1:
            raise RunError(
                f"{place}: has {len(indices)} indices of shards"
                f" ({', '.join(index.name for index in indices)}); name one"
            )
        if indices:
            return indexed_shards(indices[0])
        if files:
            _whole(files)
            return files
    raise RunError(
        f"{path}: there is no .safetensors file in this folder; a .pt or .pth file has to be named"
        " itself"
    )


def _whole(files: list[Path]) -> None:
    """Raise RunError where files are numbered and one is missing."""
    there = {file.name for file in files}
    for file in files:
        if match := NUMBERED.fullmatch(file.name):
            last = int(match[3])
            wanted = [f"{match[1]}-{n:05}-of-{last:05}.safetensors" for n in range(1, last + 1)]
            if missing := [name for name in wanted if name not in there]:
                raise RunError(
                    f"{file.parent}: of {last} shards these aren't there: {', '.join(missing[:8])};"
                    " fetch them again"
                )


def _pickled(path: Path) -> Mapping[str, Tensor]:
    """The tensors of a file by torch.save, in memory that is mapped from it. torch's weights-only
    reader makes tensors and nothing else.
    """
    try:
        held: Any = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except UnpicklingError as error:
        raise RunError(
            f"{path}: isn't plain tensors, and nothing else is read, since it could run code:"
            f" {_first(error)}"
        ) from error
    except (RuntimeError, OSError, EOFError, ValueError) as error:
        # it isn't a zip; what PyTorch wrote before 1.6 is a pickle, which begins so
        if "mmap" in str(error):
            with path.open("rb") as file:
                old = file.read(1) == b"\x80"
            cause = (
                "it has the form from before PyTorch 1.6: torch.save it anew"
                if old
                else "it is neither .safetensors nor from torch.save"
            )
        else:
            cause = _first(error)
        raise RunError(f"{path}: can't be read: {cause}") from error
    for keys in WHERE:
        found = held
        for key in keys:
            found = found.get(key) if isinstance(found, Mapping) else None
        if isinstance(found, Mapping):
            held = found
            break
    tensors = (
        {name: tensor for name, tensor in held.items() if isinstance(tensor, Tensor)}
        if isinstance(held, Mapping)
        else {}
    )
    if not tensors:
        raise RunError(
            f"{path}: holds no tensors by name, neither at the top nor under"
            f" {', '.join('.'.join(keys) for keys in WHERE)}"
        )
    return tensors


def _first(error: BaseException) -> str:
    lines: Iterator[str] = iter(str(error).splitlines())
    return next(lines, type(error).__name__)
