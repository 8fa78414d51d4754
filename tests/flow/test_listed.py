"""Sampling times from a list."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harmony_parts.av import AV
from harmony_parts.flow.listed import ListedTimes
from harmony_parts.sample.timetable import timetable
from harmony_parts.testing.contracts.flow import check_shift

LTX2 = (1.0, 0.99375, 0.9875, 0.98125, 0.975, 0.909375, 0.725, 0.421875)
FALLING = (
    st.lists(st.integers(1, 999), unique=True, max_size=9)
    .map(lambda cuts: (1.0, *(cut / 1000 for cut in sorted(cuts, reverse=True))))
)  # fmt: skip


@given(FALLING)
def test_it_is_a_shift_whose_steps_begin_at_the_times(times: tuple[float, ...]) -> None:
    check_shift(ListedTimes(times))
    table = timetable(len(times), ListedTimes(times))
    assert [t.video for t in table] == pytest.approx([*times, 0.0], abs=1e-12)


def test_without_a_choice_nothing_is_shifted() -> None:
    t = torch.linspace(0, 1, 17, dtype=torch.float64)
    assert torch.equal(ListedTimes()(t), t)


@pytest.mark.parametrize("first", [5, 6, 7])
def test_a_draft_goes_on_along_the_list(first: int) -> None:
    """As the second stage of LTX-2: three steps from 0.909375."""
    table = timetable(8 - first, ListedTimes(LTX2), start=AV(LTX2[first], 1.0))
    assert [t.video for t in table] == pytest.approx([*LTX2[first:], 0.0], abs=1e-12)


@pytest.mark.parametrize("wrong", [(), (0.9, 0.5), (1.0, 0.5, 0.5), (1.0, 0.0), (1.0, -0.1)])
def test_times_that_do_not_fall_are_refused(wrong: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="times begin at 1 and fall towards 0"):
        ListedTimes(wrong)
