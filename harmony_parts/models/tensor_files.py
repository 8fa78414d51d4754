"""Safetensors files, read and written with only one tensor in memory at a time."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from harmony_parts.errors import RunError
from harmony_parts.media.files import flush
from harmony_parts.models.file_kinds import safetensors_fault

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
    torch.complex64: "C64",
}
"""torch's types -> their names in safetensors."""


def tensor_bytes(tensor: Tensor) -> int:
    """The size of a tensor's numbers in bytes."""
    return tensor.numel() * tensor.element_size()


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file and flush it. Tensors that share memory are written separately."""
    write_tensors(path, tensors, tensors.__getitem__)


def write_tensors(
    path: Path, templates: Mapping[str, Tensor], get: Callable[[str], Tensor]
) -> None:
    """Write a safetensors file tensor by tensor, and flush it.

    `templates` have the shapes and types; `get` returns the tensor of a name. The format: the
    header's length (8 bytes), the header (JSON), the tensors' bytes; wider types come first, so
    that all are aligned. Raises ValueError if a tensor doesn't match its template.
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
            tensor, template = get(name), templates[name]
            if (tensor.shape, tensor.dtype) != (template.shape, template.dtype):
                raise ValueError(
                    f"{name} is {tensor.dtype} {list(tensor.shape)}, not {template.dtype}"
                    f" {list(template.shape)}"
                )
            file.write(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    flush(path)


def open_tensors(path: Path) -> Any:
    """An open safetensors file. Raises RunError, with what it is, if it isn't one or is cut."""
    try:
        return safe_open(path, "pt")
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error) from error


def indexed_shards(index: Path) -> list[Path]:
    """The shards that an index names, in order.

    Raises RunError if the index can't be read or a shard is missing.
    """
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{index}: can't be read as an index of shards: {error!r}") from error
    if missing := [
        name for name in names if Path(name).name != name or not (index.parent / name).is_file()
    ]:
        raise RunError(
            f"{index}: of {len(names)} shards these are missing: {', '.join(missing[:8])}; download"
            " them again"
        )
    return [index.parent / name for name in names]


def load_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file. Raises RunError if it can't be read."""
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> RunError:
    """The error for a file that safetensors refuses: the file's own fault, if it is known."""
    fault = ""
    if path.is_file():
        try:
            fault = safetensors_fault(path)
        except OSError:  # the error itself tells why
            fault = ""
    return RunError(f"{path}: can't be read: {f'it {fault}' if fault else error}")
