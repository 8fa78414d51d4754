"""What isn't weights is called by its name, with what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save, save_file

from harmony_parts.errors import RunError
from harmony_parts.models.file_kinds import is_safetensors, safetensors_fault
from harmony_parts.models.saved_tensors import meta_tensors
from harmony_parts.models.tensor_files import load_tensors

WHOLE = save({"a": torch.arange(700.0), "b": torch.zeros(3, dtype=torch.int64)})
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 23456\n"


def zip_bytes(tmp_path: Path) -> bytes:
    """A torch.save file."""
    torch.save({"a": torch.zeros(3)}, tmp_path / "a.pt")
    return (tmp_path / "a.pt").read_bytes()


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "is empty: fetch it again"),
        (POINTER, r"is a Git LFS pointer.*git lfs pull"),
        (b"\xef\xbb\xbf\n<!DOCTYPE html><html></html>", "is a web page"),
        (b"<html>", "is a web page"),
        (b"GGUF\x03\0\0\0" + bytes(100), "is a GGUF file.*fetch the original"),
        (b'{"error": "Repository not found"}', "is JSON text"),
        (bytes(5000), "begins with zeros"),
        (WHOLE[:3], "has only 3 bytes"),
        (WHOLE[:20], "is cut: 20 bytes are there, and its header alone has"),
        (WHOLE[:-1], rf"is cut: {len(WHOLE) - 1:,} of {len(WHOLE):,} bytes are there: fetch it"),
        (WHOLE + b"12345678", rf"has 8 bytes beyond the {len(WHOLE):,} that its header lists"),
        (WHOLE[:10] + b"\xff" * 8 + WHOLE[18:], "has a damaged header"),
        (b"something else entirely", "isn't a safetensors file"),
    ],
)
def test_what_is_no_safetensors_file_is_named(tmp_path: Path, content: bytes, cause: str) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(content)
    for read in (load_tensors, meta_tensors):
        with pytest.raises(RunError, match=rf"model\.safetensors: can't be read: it {cause}"):
            read(file)


def test_a_torch_file_under_that_name_is_named(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(zip_bytes(tmp_path))
    with pytest.raises(RunError, match=r"it is a torch\.save file: rename it to end in \.pt"):
        load_tensors(file)


@given(
    names=st.dictionaries(
        st.text("ab.{[<", min_size=1, max_size=40), st.integers(0, 9), max_size=30
    ),
    cut=st.integers(1, 10**6),
)
def test_whole_files_have_no_fault_and_every_cut_has_one(
    tmp_path_factory: pytest.TempPathFactory, names: dict[str, int], cut: int
) -> None:
    file = tmp_path_factory.mktemp("a") / "a.safetensors"
    save_file({name: torch.zeros(size) for name, size in names.items()}, file)
    whole = file.read_bytes()
    assert not safetensors_fault(file)
    assert is_safetensors(file)
    file.write_bytes(whole[: -(1 + cut % len(whole))])
    assert safetensors_fault(file)
