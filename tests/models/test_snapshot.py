"""Snapshots: written whole, loaded bit for bit, refused if anything changed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from harmony_parts.errors import RunError
from harmony_parts.models.snapshot import Snapshot, load_snapshot, write_snapshot


def snapshot(value: float) -> Snapshot:
    return Snapshot(3, {"weights": {"w": torch.full((2,), value)}, "empty": {}}, {"note": value})


def test_a_snapshot_loads_as_it_was_written_and_replaces_an_older_one(tmp_path: Path) -> None:
    for value in (0.1, 0.7):
        target = write_snapshot(tmp_path / "there", snapshot(value))
        loaded = load_snapshot(target)
        assert (loaded.step, loaded.facts) == (3, {"note": value})
        assert torch.equal(loaded.tensors["weights"]["w"], torch.full((2,), value))
        assert loaded.tensors["empty"] == {}
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_a_changed_file_is_named(tmp_path: Path) -> None:
    target = write_snapshot(tmp_path / "there", snapshot(0.1))
    (target / "empty.safetensors").unlink()
    with pytest.raises(RunError, match=r"empty\.safetensors: is missing"):
        load_snapshot(target)
    file = target / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\0")
    (target / "empty.safetensors").write_bytes(b"")
    with pytest.raises(RunError, match=r"\.safetensors: is damaged"):
        load_snapshot(target)
