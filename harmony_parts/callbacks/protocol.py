"""A callback: what happens beside training, such as writing the log."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import attrs


@attrs.frozen(eq=False)
class RunView:
    """What a callback sees of a run.

    - `folder`: the run folder.
    - `step`: the step after which the run begins or continues; later ones were never done.
    - `steps`: the last step.
    - `recipe`: the run's `Recipe`.
    - `say(text)` prints a line for the user.
    - `pipeline()`: a context in which the model generates, a `Pipeline` with the averaged weights.
      Training continues bit-equal after it.
    """

    folder: Path
    step: int
    steps: int
    recipe: Any
    say: Callable[[str], None]
    pipeline: Callable[[], AbstractContextManager[Any]]


class Callback(Protocol):
    """It is called between steps, in process 0. It changes nothing that training depends on."""

    def on_step(self, step: int) -> None:
        """After each step (from 1)."""

    def on_record(self, record: Mapping[str, Any]) -> None:
        """After every `log_every` steps and the last: means of numbers since the last record.

        `record` has the names and numbers of a line of the log, with tables of numbers in it;
        `record["step"]` is the step. Raises RunError if it can't be written.
        """

    def close(self) -> None:
        """After the last call, also if the run failed. Raises nothing."""


class CallbackSpec(Protocol):
    """Settings of a callback."""

    def build(self, *, run: RunView) -> Callback:
        """The callback of a run. What an earlier attempt wrote of later steps is dropped."""


def flat(record: Mapping[str, Any], before: str = "") -> dict[str, float]:
    """The numbers of a record, with the names of nested ones joined by slashes."""
    result: dict[str, float] = {}
    for name, value in record.items():
        if isinstance(value, Mapping):
            result |= flat(value, f"{before}{name}/")
        else:
            result[before + name] = value
    return result
