"""TensorBoard's log of a run."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from harmony_parts.callbacks.protocol import RunView, flat
from harmony_parts.errors import RunError
from harmony_parts.plugin import knob


@attrs.frozen
class TensorBoard:
    """Every number of a record as a scalar; nested ones have a slash in their names."""

    name: str = knob("tensorboard", help="folder in the run folder")

    def build(self, *, run: RunView) -> BoardWriter:
        """Raises RunError if the package tensorboard isn't installed."""
        return BoardWriter(run.folder / self.name, run.step, writer_class())


@attrs.define(eq=False)
class BoardWriter:
    """Writes into `folder`, after hiding what is there of steps beyond `step`."""

    folder: Path
    step: int
    writer_class: Any
    _board: Any = None

    def on_step(self, step: int) -> None:
        """Nothing."""

    def on_record(self, record: Mapping[str, Any]) -> None:
        """Write the numbers of a record."""
        try:
            if self._board is None:
                self._board = self.writer_class(str(self.folder), purge_step=self.step + 1)
            for name, value in flat(record).items():
                if name != "step":
                    self._board.add_scalar(name, value, record["step"])
        except OSError as error:
            raise RunError(f"{self.folder}: can't be written: {error}") from error

    def close(self) -> None:
        """Write what is left."""
        if self._board is not None:
            with contextlib.suppress(OSError):
                self._board.close()


def writer_class() -> Any:
    """torch's SummaryWriter. Raises RunError if the package tensorboard isn't installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter  # it takes a second to import
    except ImportError as error:
        raise RunError(
            "the callback `tensorboard` needs the package tensorboard: pip install"
            " 'harmony-parts[tensorboard]', or leave it out of train.callbacks"
        ) from error
    return SummaryWriter
