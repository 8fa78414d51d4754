"""A schedule: how the learning rate changes in the course of a run."""

from __future__ import annotations

from typing import Protocol


class Schedule(Protocol):
    """A stateless part, which is its own spec."""

    def factor(self, step: int, steps: int) -> float:
        """What the optimizer's rates are multiplied by in `step` (from 1) of a run of `steps`.

        A pure function, so a resumed run needs no state of it.
        """
