"""The times of a run of the sampler."""

from __future__ import annotations

from itertools import pairwise

import torch

from harmony_parts.errors import PartContractError
from harmony_parts.flow.protocol import Shift


def timetable(steps: int, shift: Shift) -> list[float]:
    """`steps + 1` times from 1 (noise) to 0 (data): even steps, shifted, by the shift `for_steps`
    where it has that.

    Raises ValueError for less than one step, PartContractError where the shift moves an end or
    turns back.
    """
    if not isinstance(steps, int) or steps < 1:
        raise ValueError(f"steps must be a whole number of at least 1, not {steps!r}")
    shift = getattr(shift, "for_steps", lambda _: shift)(steps)
    table: list[float] = shift(torch.linspace(1, 0, steps + 1, dtype=torch.float64)).tolist()
    if (
        len(table) != steps + 1
        or table[0] != 1
        or table[-1] != 0
        or any(not later < now for now, later in pairwise(table))
    ):
        raise PartContractError(
            f"the shift {shift!r} must be a rising map of [0, 1] onto itself; of {steps} even steps"
            f" it makes {table}"
        )
    return table
