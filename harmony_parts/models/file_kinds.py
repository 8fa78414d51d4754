"""What a file that should hold weights is, read from its first bytes and its length.

Downloads go wrong in a few ways, and each has another remedy.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

HEAD = 512  # bytes, enough to distinguish the kinds
LFS = b"version https://git-lfs"
MAX_HEADER = 100_000_000  # bytes, the limit of the safetensors library
ZIP, PICKLE, GGUF = b"PK\x03\x04", b"\x80", b"GGUF"
AGAIN = "fetch it again"


def not_weights(path: Path) -> str:
    """What the file is, and what to do, if it is no file of weights; empty if it may be one."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(HEAD)
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if _is_header(head):
        return ""
    if not size:
        return f"is empty: {AGAIN}"
    if head.startswith(LFS):
        return (
            "is a Git LFS pointer, a note of where the weights are: fetch them with `git lfs pull`,"
            " or with `hf download`"
        )
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return (
            "is a web page, such as a site's answer to a download that needs a login or another"
            f" address: {AGAIN}"
        )
    if head.startswith(GGUF):
        return "is a GGUF file, whose weights are quantised: fetch the original .safetensors"
    if text.startswith((b"{", b"[")):
        return f"is JSON text, such as a server's error or an index of shards: {AGAIN}"
    if not head.strip(b"\0"):
        return f"begins with zeros, as an interrupted download does: {AGAIN}"
    return ""


def safetensors_fault(path: Path) -> str:
    """Why a file can't be read as safetensors, and what to do; empty if header and length fit."""
    if fault := not_weights(path):
        return fault
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(9)
        if len(head) < 9:
            return f"has only {size:,} bytes: {AGAIN}"
        (length,) = struct.unpack("<Q", head[:8])
        if not _is_header(head) or length > MAX_HEADER:
            if head.startswith((ZIP, PICKLE)):
                return "is a torch.save file: rename it to end in .pt"
            return "isn't a safetensors file"
        file.seek(8)
        text = file.read(length)
    if len(text) < length:
        return f"is cut: {size:,} bytes are there, and its header alone has {8 + length:,}: {AGAIN}"
    try:
        whole = 8 + length + _tensors_end(json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError):
        return f"has a damaged header: {AGAIN}"
    if size < whole:
        return f"is cut: {size:,} of {whole:,} bytes are there: {AGAIN}"
    if size > whole:
        return f"has {size - whole:,} bytes beyond the {whole:,} that its header lists: {AGAIN}"
    return ""


def is_safetensors(path: Path) -> bool:
    """Whether a file begins as a safetensors file does, whatever its name."""
    with path.open("rb") as file:
        return _is_header(file.read(9))


def _is_header(head: bytes) -> bool:
    """Whether a file begins with a length of 8 bytes, far below 2^40, and then an object."""
    return head[5:9] == b"\0\0\0{"


def _tensors_end(header: dict[str, Any]) -> int:
    """Where the last tensor ends, in bytes after the header."""
    return max(
        (entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"),
        default=0,
    )
