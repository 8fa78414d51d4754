"""The times of the sampler's steps, and shifts that depend on the number of steps."""

from __future__ import annotations

import attrs
import pytest
from torch import Tensor

from harmony_parts.errors import PartContractError
from harmony_parts.flow.shift import ConstantShift
from harmony_parts.sample.timetable import timetable
from harmony_parts.testing.contracts.flow import check_shift


@attrs.frozen
class BySteps(ConstantShift):
    """A shift that grows with the number of steps."""

    power: int = 1

    def for_steps(self, steps: int) -> ConstantShift:
        return ConstantShift(float(steps**self.power))


def test_a_shift_is_resolved_for_the_number_of_steps() -> None:
    for steps in (1, 2, 7):
        assert timetable(steps, BySteps()) == timetable(steps, ConstantShift(float(steps)))


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
