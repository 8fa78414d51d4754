"""Schedules of the learning rate."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmony_parts.schedules.constant import Constant
from harmony_parts.schedules.cosine import Cosine
from harmony_parts.testing.contracts import check_schedule

SCHEDULES = [Constant(), Constant(warmup=0), Cosine(), Cosine(0, 0.25, 0.1), Cosine(5, 0.0)]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_schedules_meet_their_contract(schedule: Any) -> None:
    check_schedule(schedule)


@given(st.integers(0, 50), st.integers(1, 200))
def test_the_warm_up_is_linear_and_then_constant(warmup: int, step: int) -> None:
    factor = Constant(warmup).factor(step, 1000)
    assert factor == (step / warmup if step < warmup else 1.0)


@given(st.integers(2, 500), st.floats(0.1, 1), st.floats(0, 1))
def test_the_cosine_falls_over_the_last_share(steps: int, share: float, floor: float) -> None:
    schedule = Cosine(0, share, floor)
    factors = [schedule.factor(step, steps) for step in range(1, steps + 1)]
    assert factors == sorted(factors, reverse=True)
    assert factors[-1] == pytest.approx(floor)
    assert {f for n, f in enumerate(factors, 1) if n <= (1 - share) * steps} <= {1.0}
    assert Cosine(0, 1.0, floor).factor(steps, 2 * steps) == pytest.approx((1 + floor) / 2)


def test_a_cosine_without_a_share_is_constant() -> None:
    assert all(Cosine(7, 0.0).factor(n, 90) == Constant(7).factor(n, 90) for n in range(1, 91))


@pytest.mark.parametrize("wrong", [{"share": 1.5}, {"floor": -0.1}, {"warmup": -1}])
def test_settings_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Cosine(**wrong)
