"""The log file and TensorBoard's files."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from harmony_parts.callbacks.log import LogFile
from harmony_parts.callbacks.protocol import RunView, flat
from harmony_parts.callbacks.tensorboard import TensorBoard
from harmony_parts.errors import RunError
from harmony_parts.testing.contracts import check_callback


def view(folder: Path, step: int = 0) -> RunView:
    return RunView(folder, step, 9, None, print, contextlib.nullcontext)


@pytest.mark.parametrize("spec", [LogFile(), TensorBoard()])
def test_the_callbacks_meet_their_contract(spec: Any) -> None:
    check_callback(spec)


def test_the_log_drops_lines_that_a_resumed_run_repeats(tmp_path: Path) -> None:
    lines = [json.dumps({"step": step}) for step in (1, 2, 3)]
    (tmp_path / "log.jsonl").write_text("\n".join([*lines, '{"step": 4, "lo']), encoding="utf-8")
    LogFile().build(run=view(tmp_path, 2)).on_record({"step": 3, "loss": 0.5})
    written = (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()
    assert written == [*lines[:2], '{"step": 3, "loss": 0.5}']


def test_a_log_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").mkdir()
    with pytest.raises(RunError, match=r"log\.jsonl: the log can't be written"):
        LogFile().build(run=view(tmp_path)).on_record({"step": 1})


def test_tensorboard_gets_every_number_of_the_record(tmp_path: Path) -> None:
    """A resumed run replaces what its predecessor wrote of later steps."""
    event_accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    )
    for begun, steps, loss in ((0, (1, 2, 3), 1.0), (2, (3, 4), 5.0)):
        board = TensorBoard().build(run=view(tmp_path, begun))
        for step in steps:
            board.on_record({"step": step, "loss": loss, "losses": {"joint.video": 2.0}})
        board.close()
    events = event_accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert sorted(events.Tags()["scalars"]) == ["loss", "losses/joint.video"]
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(1, 1), (2, 1), (3, 5), (4, 5)]


def test_flat_joins_names_with_slashes() -> None:
    assert flat({"a": 1, "b": {"c": 2, "d": {"e": 3}}}) == {"a": 1, "b/c": 2, "b/d/e": 3}
