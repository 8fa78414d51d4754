"""Files of tensors, in the safetensors format, written and looked at without holding more than one
tensor in memory.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from harmony_parts.errors import RunError
from harmony_parts.media.files import flush

TYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""Types of numbers, as safetensors calls them."""


def tensor_bytes(tensor: Tensor) -> int:
    """Bytes."""
    return tensor.numel() * tensor.element_size()


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file, on the disk when this returns. Tensors that share memory (tied
    weights) are written apart.
    """
    write_tensors(path, tensors, tensors.__getitem__)


def write_tensors(
    path: Path, templates: Mapping[str, Tensor], get: Callable[[str], Tensor]
) -> None:
    """Write a safetensors file, tensor by tensor; see `write_weights`. It is on the disk when this
    returns.

    The format: the header's length (8 bytes), the header (JSON), the tensors' bytes; wider types
    come first, so that all are aligned.
    """
    names = sorted(templates, key=lambda name: -templates[name].element_size())
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in names:
        begin, end = end, end + tensor_bytes(templates[name])
        header[name] = {
            "dtype": TYPES[templates[name].dtype],
            "shape": list(templates[name].shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name in names:
            tensor, wanted = get(name), templates[name]
            if (tensor.shape, tensor.dtype) != (wanted.shape, wanted.dtype):
                raise ValueError(
                    f"{name} is {tensor.dtype} {list(tensor.shape)}, and not {wanted.dtype}"
                    f" {list(wanted.shape)}"
                )
            file.write(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    flush(path)


def meta_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file without numbers: shapes and types. Raises RunError where it
    can't be read.
    """
    of = {name: dtype for dtype, name in TYPES.items()}
    found: dict[str, Tensor] = {}
    with open_tensors(path) as file:
        for name in file.keys():  # noqa: SIM118 (not a mapping)
            part = file.get_slice(name)
            if part.get_dtype() not in of:
                raise RunError(
                    f"{path}: {name} holds numbers of the type {part.get_dtype()}, which can't be"
                    " read here"
                )
            found[name] = torch.empty(part.get_shape(), dtype=of[part.get_dtype()], device="meta")
    return found


def iter_tensors(path: Path) -> Iterator[tuple[str, Tensor]]:
    """Name and numbers of each tensor of a file, in the file's order."""
    with open_tensors(path) as file:
        for name in file.keys():  # noqa: SIM118
            yield name, file.get_tensor(name)


def open_tensors(path: Path) -> Any:
    """A safetensors file, open. Raises RunError where it isn't one, or ends too early."""
    try:
        return safe_open(path, "pt")
    except (SafetensorError, OSError) as error:
        raise RunError(f"{path}: can't be read: {error}") from error


def indexed_shards(index: Path) -> list[Path]:
    """The shards that an index names, in order. Raises RunError for an index that is none, or a
    shard that isn't there.
    """
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{index}: can't be read as an index of shards: {error!r}") from error
    if missing := [
        name for name in names if Path(name).name != name or not (index.parent / name).is_file()
    ]:
        raise RunError(
            f"{index}: of {len(names)} shards these aren't there: {', '.join(missing[:8])}; fetch"
            " them again"
        )
    return [index.parent / name for name in names]


def load_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file. Raises RunError where it can't be read."""
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise RunError(f"{path}: can't be read: {error}") from error
