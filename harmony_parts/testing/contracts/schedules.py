"""Contract check of schedules of the learning rate."""

from __future__ import annotations

import math

from harmony_parts.schedules.protocol import Schedule
from harmony_parts.testing.contracts.require import check_value, no_global_randomness, require


def check_schedule(schedule: Schedule) -> None:
    """Factors that are finite, at least 0, a pure function of the step, and above 0 somewhere.

    Runs of 1, 7 and 1000 steps are tried. Raises PartContractError.
    """
    check_value(schedule)
    for steps in (1, 7, 1000):
        with no_global_randomness(schedule):
            factors = [schedule.factor(step, steps) for step in range(1, steps + 1)]
        require(
            all(isinstance(f, float) and math.isfinite(f) and f >= 0 for f in factors),
            schedule,
            "return finite factors of at least 0, as floats",
        )
        again = [schedule.factor(step, steps) for step in range(steps, 0, -1)]
        same = factors == again[::-1]
        require(same, schedule, "return the same factor for the same step, in any order")
    require(max(factors) > 0, schedule, "have a factor above 0 in a run of 1000 steps")
