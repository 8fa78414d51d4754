"""The times of the sampler's steps."""

from __future__ import annotations

from itertools import pairwise

import torch

from harmony_parts.errors import PartContractError
from harmony_parts.flow.protocol import Shift, StepDependentShift


def timetable(steps: int, shift: Shift) -> list[float]:
    """`steps + 1` decreasing times from 1 (noise) to 0 (data): evenly spaced, then shifted.

    A `StepDependentShift` is first resolved for `steps`. Raises ValueError for fewer than one step,
    PartContractError if the shift moves an end or isn't increasing.
    """
    if not isinstance(steps, int) or steps < 1:
        raise ValueError(f"steps must be a whole number of at least 1, not {steps!r}")
    if isinstance(shift, StepDependentShift):
        shift = shift.for_steps(steps)
    table: list[float] = shift(torch.linspace(1, 0, steps + 1, dtype=torch.float64)).tolist()
    if (
        len(table) != steps + 1
        or table[0] != 1
        or table[-1] != 0
        or any(not later < now for now, later in pairwise(table))
    ):
        raise PartContractError(
            f"the shift {shift!r} must be an increasing map of [0, 1] onto itself; it maps {steps}"
            f" even steps to {table}"
        )
    return table
