"""Contract check of callbacks."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harmony_parts.callbacks.protocol import CallbackSpec, RunView
from harmony_parts.testing.contracts.require import check_made, no_global_randomness, require

STEPS = 6


def check_callback(spec: CallbackSpec, *, recipe: Any = None, pipeline: Any = None) -> None:
    """Run a callback through a short run that is interrupted and resumed, in a temporary folder.

    `recipe` and `pipeline` are what it sees of the run; without them it must do with neither.
    Checked: it draws nothing from torch's global generator, writes only into the run folder, leaves
    its records as they are, and can be closed after any number of steps. Raises PartContractError.
    """
    check_made(spec)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "run"
        folder.mkdir()
        _go(spec, RunView(folder, 0, STEPS, recipe, _say, lambda: _given(pipeline)), 4)
        _go(spec, RunView(folder, 2, STEPS, recipe, _say, lambda: _given(pipeline)), STEPS)
        _go(spec, RunView(folder, STEPS, STEPS, recipe, _say, lambda: _given(pipeline)), STEPS)
        outside = [path.name for path in Path(place).iterdir() if path != folder]
        require(not outside, spec, f"write only into the run folder, not {', '.join(outside)}")


def _go(spec: CallbackSpec, run: RunView, last: int) -> None:
    with no_global_randomness(spec):
        callback = spec.build(run=run)
        try:
            for step in range(run.step + 1, last + 1):
                record = _record(step)
                callback.on_record(record)
                require(record == _record(step), spec, "leave a record as it is")
                callback.on_step(step)
        finally:
            callback.close()


def _record(step: int) -> dict[str, Any]:
    return {"step": step, "loss": 1 / step, "losses": {"joint.video": 0.5}, "seconds_per_step": 0.1}


def _say(text: str) -> None:
    """Nobody reads it."""


@contextlib.contextmanager
def _given(pipeline: Any) -> Iterator[Any]:
    yield pipeline
