"""Safetensors files, written and read tensor by tensor."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from harmony_parts.models.saved_tensors import meta_tensors
from harmony_parts.models.tensor_files import load_tensors, save_tensors, write_tensors


def test_files_are_exchanged_with_the_safetensors_library(tmp_path: Path) -> None:
    """Both ways, in all types: tied and transposed tensors, scalars, and empty ones."""
    tied = torch.randn(3, 5)
    state = {
        **{
            str(dtype): (torch.randn(3, 7) * 10).to(dtype)
            for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16)
        },
        **{
            str(dtype): torch.randint(0, 2, (5,)).to(dtype)
            for dtype in (torch.int64, torch.int32, torch.int8, torch.uint8, torch.bool)
        },
        "tied": tied,
        "turned": tied.t(),
        "scalar": torch.tensor(2.5),
        "none": torch.zeros(0, 4),
        "float8": torch.randn(3).to(torch.float8_e5m2),
    }
    save_tensors(tmp_path / "a.safetensors", state)
    read = load_file(tmp_path / "a.safetensors")
    assert read.keys() == state.keys()
    for name, tensor in state.items():
        assert read[name].dtype == tensor.dtype
        assert torch.equal(read[name].float(), tensor.float())
    save_file(
        {name: tensor.contiguous().clone() for name, tensor in state.items()},
        tmp_path / "b.safetensors",
    )
    theirs = load_tensors(tmp_path / "b.safetensors")
    assert all(torch.equal(theirs[name].float(), tensor.float()) for name, tensor in state.items())
    for file in ("a", "b"):
        shapes = meta_tensors(tmp_path / f"{file}.safetensors")
        assert all(
            (shapes[n].shape, shapes[n].dtype) == (t.shape, t.dtype) for n, t in state.items()
        )
    with pytest.raises(ValueError, match=r"x is torch.float32 \[3\], not torch.float32 \[2\]"):
        write_tensors(
            tmp_path / "c.safetensors", {"x": torch.zeros(2)}, lambda name: torch.zeros(3)
        )
