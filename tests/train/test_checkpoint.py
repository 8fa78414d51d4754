"""Checkpoints: they come back bit for bit, and a damaged one is skipped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from harmony_parts.models.snapshot import load_snapshot
from harmony_parts.train.checkpoint import load_last_checkpoint, save_checkpoint


def state(step: int) -> dict[str, Any]:
    return {"step": step, "weights": {"w": torch.full((3,), float(step))}, "place": step / 3}


def test_the_last_two_checkpoints_are_kept_and_the_last_is_loaded(tmp_path: Path) -> None:
    for step in (1, 20, 300):
        save_checkpoint(tmp_path, state(step))
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["step-0000020", "step-0000300"]
    last = load_last_checkpoint(tmp_path, pytest.fail)
    assert last is not None
    assert last.keys() == {"step", "weights", "place"}
    assert (last["step"], last["place"]) == (300, 100.0)
    assert torch.equal(last["weights"]["w"], torch.full((3,), 300.0))


@pytest.mark.parametrize("fault", ["flipped", "short", "gone", "state gone", "state cut"])
def test_a_damaged_checkpoint_is_skipped_and_its_file_named(tmp_path: Path, fault: str) -> None:
    save_checkpoint(tmp_path, state(1))
    folder = save_checkpoint(tmp_path, state(2))
    file = folder / ("state.json" if "state" in fault else "weights.safetensors")
    data = bytearray(file.read_bytes())
    if fault == "flipped":
        data[-1] ^= 1
        file.write_bytes(data)
    elif "gone" in fault:
        file.unlink()
    else:
        file.write_bytes(data[: len(data) // 2])
    (tmp_path / ".step-0000003.part").mkdir()  # one that was never finished
    warnings: list[str] = []
    last = load_last_checkpoint(tmp_path, warnings.append)
    assert last is not None
    assert last["step"] == 1
    assert len(warnings) == 1
    assert str(file) in warnings[0]
    # saving that step again replaces it and removes leftovers
    save_checkpoint(tmp_path, state(2))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-0000001", "step-0000002"]
    assert load_snapshot(folder).step == 2
