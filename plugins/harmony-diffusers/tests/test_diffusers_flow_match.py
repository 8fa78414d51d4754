"""flow-match against diffusers' scheduler."""

from __future__ import annotations

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harmony_diffusers.flow_match import FlowMatchShift
from harmony_diffusers.scheduler import flow_shift
from harmony_parts.sample.timetable import timetable
from harmony_parts.testing.contracts.flow import check_shift


@settings(deadline=None, derandomize=True, max_examples=40)
@given(shift=st.floats(0.2, 20), steps=st.integers(1, 100))
@example(shift=5.0, steps=50)
@example(shift=1.0, steps=1)
def test_times_equal_its_schedulers(shift, steps):
    """For any shift and number of steps, without sigmas of the caller's; float32 there."""
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(steps)
    times = torch.tensor([t["video"] for t in timetable(steps, FlowMatchShift(shift))])
    assert torch.allclose(times, scheduler.sigmas, rtol=0, atol=1e-6 * max(1, shift))


def test_the_shift_passes_the_contract_check():
    for shift in (FlowMatchShift(), FlowMatchShift(5.0)):
        check_shift(shift)
    with pytest.raises(ValueError, match="shift"):
        FlowMatchShift(0)


def test_a_saved_schedulers_shift_is_read(tmp_path):
    """A folder without one is named."""
    FlowMatchEulerDiscreteScheduler(shift=7.0).save_pretrained(tmp_path / "scheduler")
    assert flow_shift(str(tmp_path)) == 7.0
    with pytest.raises(ValueError, match=r"its folder 'other'.* can't be loaded as a scheduler"):
        flow_shift(str(tmp_path), subfolder="other")
