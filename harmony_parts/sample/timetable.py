"""The times of the sampler's steps."""

from __future__ import annotations

from collections.abc import Collection
from itertools import pairwise

import torch

from harmony_parts.av import AV, STREAMS
from harmony_parts.errors import PartContractError
from harmony_parts.flow.protocol import Shift, StepDependentShift
from harmony_parts.flow.stream_shifts import StreamShifts, shifts_of_streams
from harmony_parts.guidance.protocol import StepTimes

NOISE = AV(1.0, 1.0)  # where streams without a draft start
ROUNDING = 1e-9  # of a shift's float64 arithmetic, and of its inverse


def timetable(
    steps: int,
    shift: Shift | StreamShifts,
    streams: Collection[str] = STREAMS,
    given: Collection[str] = (),
    start: AV[float] = NOISE,
) -> list[AV[float]]:
    """The times of `streams` before, between and after `steps` steps: `steps + 1` entries.

    Each stream goes from its `start`, which is 1 (noise) unless it begins with a draft, to 0
    (data): evenly spaced times, moved by its own shift. A stream in `given` is always at time 0. A
    `StepDependentShift` is first resolved for `steps`. Raises ValueError for fewer than one step or
    a start that isn't above 0 and up to 1, PartContractError if a shift moves an end or isn't
    increasing.
    """
    if not isinstance(steps, int) or steps < 1:
        raise ValueError(f"steps must be a whole number of at least 1, not {steps!r}")
    for stream in start:
        if not 0 < start[stream] <= 1:
            raise ValueError(f"{stream} starts at a time above 0 and up to 1, not {start[stream]}")
    shifts = shifts_of_streams(shift)
    columns = {
        stream: (
            [0.0] * (steps + 1)
            if stream in given
            else _shifted(steps, shifts[stream], start[stream])
        )
        for stream in streams
    }
    return [AV(**{stream: columns[stream][k] for stream in columns}) for k in range(steps + 1)]


def step_times(
    steps: int,
    shift: Shift | StreamShifts,
    streams: Collection[str] = STREAMS,
    given: Collection[str] = (),
) -> list[StepTimes]:
    """The times at which the steps of the `timetable` begin, as guidance gets them."""
    return [
        StepTimes(times.video, times.audio)
        for times in timetable(steps, shift, streams, given)[:-1]
    ]


def _shifted(steps: int, shift: Shift, start: float) -> list[float]:
    """`steps + 1` times from `start` to 0, even before the shift, and checked."""
    if isinstance(shift, StepDependentShift):
        shift = shift.for_steps(steps)
    first = 1.0 if start == 1 else _unshifted(shift, start)
    column: list[float] = shift(torch.linspace(first, 0, steps + 1, dtype=torch.float64)).tolist()
    if (
        len(column) != steps + 1
        or abs(column[0] - start) > ROUNDING
        or column[-1] != 0
        or any(not later < now for now, later in pairwise(column))
    ):
        raise PartContractError(
            f"the shift {shift!r} must be an increasing map of [0, 1] onto itself; it maps {steps}"
            f" even steps to {column}"
        )
    return [start, *column[1:]]


def _unshifted(shift: Shift, time: float) -> float:
    """The u with shift(u) = `time`, by bisection."""
    low, high = 0.0, 1.0
    while low < (middle := (low + high) / 2) < high:
        if float(shift(torch.tensor(middle, dtype=torch.float64))) < time:
            low = middle
        else:
            high = middle
    return high
