"""What a failed contract says: the property, the passes, what was got, and how to be exempt."""

from __future__ import annotations

import attrs
import pytest

from harmony_parts.errors import PartContractError
from harmony_parts.guidance.protocol import CONDITIONAL, Pass, conditional
from harmony_parts.testing.contracts import check_guidance
from harmony_parts.testing.guidance_properties import PROPERTIES


@attrs.frozen
class Doubled:
    """Twice the conditional prediction, with a pass that it doesn't use."""

    def passes(self, times, state):
        return [conditional(times), Pass("other", times, drop=("caption",))]

    def combine(self, preds, times, state):
        return preds[CONDITIONAL].only(times.generated()).map(lambda v: 2 * v), state


def test_the_contract_names_the_passes_the_difference_and_the_exemption():
    text = (
        r"if all passes \(joint, other\) agree \(joint\); it differs by [\d.]+ in video, [\d.]+ in"
        r" audio. If it can't, it says so: exempt = {'fixed-point': REASON}"
    )
    with pytest.raises(PartContractError, match=text):
        check_guidance(Doubled())


def test_a_property_names_the_passes_the_result_and_the_exemption():
    with pytest.raises(PartContractError) as error:
        PROPERTIES["fixed-point"](Doubled(), examples=2)
    text = str(error.value)
    assert "requested 'joint' (reads" in text
    assert "'other' (reads video and audio)" in text
    assert "instead of" in text
    assert "exempt = {'fixed-point': REASON}" in text
