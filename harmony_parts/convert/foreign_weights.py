"""Checkpoints of other projects: safetensors, shards or torch.save files, read tensor by tensor.

No code in a checkpoint is ever run.
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

# bytes that are read before files are reopened: pages of a mapped file count as memory until it is
# closed
RELEASE = 2**27
NESTING = (("app", "model"), ("module",), ("model",), ("state_dict",))
"""Keys under which a torch.save file may have its weights; Ovi's training writes the first two."""
NUMBERED = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.safetensors")
FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


class ForeignWeights:
    """The tensors of a .safetensors file, a folder of shards, or a .pt file, read on demand.

    `shapes`: name -> a meta tensor of the same shape and type.
    """

    def __init__(self, path: Path) -> None:
        """Raises RunError, naming the file, if one is missing or damaged, would run code, or has
        tensors that aren't floats.
        """
        self.path, self.files = Path(path), _files(Path(path))
        self.shapes: dict[str, Tensor] = {}
        self._file_of: dict[str, Path] = {}
        self._open: dict[Path, Callable[[str], Tensor]] = {}
        self._read = 0
        for file in self.files:
            shapes = (
                meta_tensors(file)
                if file.suffix == ".safetensors"
                else {n: t.to("meta") for n, t in _pickled(file).items()}
            )
            if duplicates := sorted(self._file_of.keys() & shapes.keys()):
                name = duplicates[0]
                raise RunError(
                    f"{path}: {name} is in {self._file_of[name].name} and in {file.name}:"
                    " the folder has several models; name one file"
                )
            self.shapes |= shapes
            self._file_of |= dict.fromkeys(shapes, file)
        if other := [name for name, tensor in self.shapes.items() if tensor.dtype not in FLOATS]:
            raise RunError(
                f"{path}: {len(other)} tensors have another type than float16, bfloat16, float32"
                f" or float64, such as {other[0]}"
                f" ({self.shapes[other[0]].dtype}): a quantised checkpoint can't be converted;"
                " convert the original one"
            )

    def __getitem__(self, name: str) -> Tensor:
        """The tensor of that name; it may be memory mapped from the file."""
        if self._read > RELEASE:
            self._open.clear()
            self._read = 0
        file = self._file_of[name]
        if file not in self._open:
            self._open[file] = (
                open_tensors(file).get_tensor
                if file.suffix == ".safetensors"
                else _pickled(file).__getitem__
            )
        self._read += tensor_bytes(self.shapes[name])
        return self._open[file](name)

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


def _pickled(path: Path) -> Mapping[str, Tensor]:
    """The tensors of a torch.save file, memory-mapped.

    torch's weights-only reader creates nothing but tensors and plain containers.
    """
    try:
        content: Any = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except UnpicklingError as error:
        raise RunError(
            f"{path}: has more than plain tensors, and nothing else is read since it could run"
            f" code: {_first_line(error)}"
        ) from error
    except (RuntimeError, OSError, EOFError, ValueError) as error:
        # not a zip; files from before PyTorch 1.6 are pickles, which begin with this byte
        if "mmap" in str(error):
            with path.open("rb") as file:
                old = file.read(1) == b"\x80"
            cause = (
                "it has the format from before PyTorch 1.6: save it again with torch.save"
                if old
                else "it is neither a .safetensors nor a torch.save file"
            )
        else:
            cause = _first_line(error)
        raise RunError(f"{path}: can't be read: {cause}") from error
    for keys in NESTING:
        nested = content
        for key in keys:
            nested = nested.get(key) if isinstance(nested, Mapping) else None
        if isinstance(nested, Mapping):
            content = nested
            break
    tensors = (
        {name: tensor for name, tensor in content.items() if isinstance(tensor, Tensor)}
        if isinstance(content, Mapping)
        else {}
    )
    if not tensors:
        raise RunError(
            f"{path}: has no named tensors, neither at the top level nor under"
            f" {', '.join('.'.join(keys) for keys in NESTING)}"
        )
    return tensors


def _first_line(error: BaseException) -> str:
    lines: Iterator[str] = iter(str(error).splitlines())
    return next(lines, type(error).__name__)
