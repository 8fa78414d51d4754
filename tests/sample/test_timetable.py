"""The times of the sampler's steps, and shifts that depend on the number of steps."""

from __future__ import annotations

import attrs
import pytest
from torch import Tensor

from harmony_parts.errors import PartContractError
from harmony_parts.flow.shift import ConstantShift
from harmony_parts.flow.stream_shifts import StreamShifts
from harmony_parts.guidance.protocol import StepTimes
from harmony_parts.sample.timetable import step_times, timetable
from harmony_parts.testing.contracts.flow import check_shift


@attrs.frozen
class BySteps(ConstantShift):
    """A shift that grows with the number of steps."""

    power: int = 1

    def for_steps(self, steps: int) -> ConstantShift:
        return ConstantShift(float(steps**self.power))


def test_a_shift_is_resolved_for_the_number_of_steps() -> None:
    for steps in (1, 2, 7):
        assert step_times(steps, BySteps()) == step_times(steps, ConstantShift(float(steps)))


def test_each_stream_has_the_times_of_its_own_shift() -> None:
    """Also if one of them depends on the number of steps; a given stream is always at time 0."""
    pair = StreamShifts(BySteps(), ConstantShift(3.0))
    for steps in (1, 2, 7):
        each = timetable(steps, ConstantShift(float(steps))), timetable(steps, ConstantShift(3.0))
        both = timetable(steps, pair)
        assert [t.video for t in both] == [t.video for t in each[0]]
        assert [t.audio for t in both] == [t.audio for t in each[1]]
        assert [t.audio for t in timetable(steps, pair, given=("audio",))] == [0.0] * (steps + 1)
        assert {t.video for t in timetable(steps, pair, streams=("audio",))} == {None}
    assert step_times(2, pair) == [StepTimes(1.0, 1.0), StepTimes(2 / 3, 0.75)]
    assert step_times(2, pair, given=("video",)) == [StepTimes(0.0, 1.0), StepTimes(0.0, 0.75)]


def test_two_equal_shifts_are_one_shift() -> None:
    one = ConstantShift(5.0)
    assert step_times(9, StreamShifts(one, one)) == step_times(9, one)


def test_the_contract_is_checked_for_several_numbers_of_steps() -> None:
    check_shift(BySteps())

    @attrs.frozen
    class Turns(BySteps):
        def for_steps(self, steps: int) -> ConstantShift:
            return Backwards() if steps > 2 else self

    @attrs.frozen
    class Backwards(ConstantShift):
        def __call__(self, t: Tensor) -> Tensor:
            return t * (1 - t) * 5 + t

    check_shift(ConstantShift())
    with pytest.raises(PartContractError, match=r"Backwards.* must be increasing"):
        check_shift(Turns())
