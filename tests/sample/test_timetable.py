"""A shift that depends on how many steps the sampler takes."""

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
    """The more steps, the further."""

    power: int = 1

    def for_steps(self, steps: int) -> ConstantShift:
        return ConstantShift(float(steps**self.power))


def test_the_sampler_tells_a_shift_its_steps() -> None:
    for steps in (1, 2, 7):
        assert timetable(steps, BySteps()) == timetable(steps, ConstantShift(float(steps)))


def test_it_keeps_the_contract_for_any_number() -> None:
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
    with pytest.raises(PartContractError, match=r"Backwards.* must rise"):
        check_shift(Turns())
