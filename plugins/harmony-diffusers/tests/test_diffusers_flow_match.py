"""flow-match against diffusers' scheduler."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harmony_diffusers.flow_match import FlowMatchShift
from harmony_diffusers.scheduler import SavedTimes, saved_times
from harmony_parts.sample.timetable import timetable
from harmony_parts.testing.contracts.flow import check_shift

UNIPC = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}


@settings(deadline=None, derandomize=True, max_examples=40)
@given(
    shift=st.floats(0.2, 20), steps=st.integers(1, 100), spread=st.sampled_from(("euler", "unipc"))
)
@example(shift=5.0, steps=50, spread="euler")
@example(shift=1.0, steps=1, spread="euler")
@example(shift=5.0, steps=50, spread="unipc")
def test_times_equal_its_schedulers(shift, steps, spread):
    """For any shift and number of steps, without sigmas of the caller's; float32 there."""
    scheduler = {
        "euler": FlowMatchEulerDiscreteScheduler(shift=shift),
        "unipc": UniPCMultistepScheduler(**UNIPC, flow_shift=shift),
    }[spread]
    scheduler.set_timesteps(steps)
    times = torch.tensor([t["video"] for t in timetable(steps, FlowMatchShift(shift, spread))])
    assert torch.allclose(times, scheduler.sigmas, rtol=0, atol=2e-6 * max(1, shift))


def test_the_shift_passes_the_contract_check():
    for shift in (FlowMatchShift(), FlowMatchShift(5.0), FlowMatchShift(5.0, "unipc")):
        check_shift(shift)
    with pytest.raises(ValueError, match="shift"):
        FlowMatchShift(-1)


def step_times(shift, steps):
    """The times of a run, or of training."""
    if steps is None:
        return shift(torch.linspace(0, 1, 9)).tolist()
    return [times.video for times in timetable(steps, shift)]


@pytest.mark.parametrize(
    ("scheduler", "spread"),
    [
        (FlowMatchEulerDiscreteScheduler(shift=7.0), "euler"),
        (UniPCMultistepScheduler(**UNIPC, flow_shift=7.0), "unipc"),
    ],
    ids=["euler", "unipc"],
)
def test_a_saved_schedulers_times_are_read(tmp_path, scheduler, spread):
    """A shift of one's own goes before; a folder without a scheduler is named."""
    scheduler.save_pretrained(tmp_path / "scheduler")
    assert saved_times(str(tmp_path)) == SavedTimes(7.0, spread)
    named = FlowMatchShift(model=str(tmp_path))
    for steps in (None, 10):
        assert step_times(named, steps) == step_times(FlowMatchShift(7.0, spread), steps)
    assert FlowMatchShift(2.0, model=str(tmp_path)).times == SavedTimes(2.0, "euler")
    assert FlowMatchShift().times == SavedTimes(1.0, "euler")
    with pytest.raises(ValueError, match=r"its folder 'other'.* can't be loaded as a scheduler"):
        saved_times(str(tmp_path), subfolder="other")


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        (UniPCMultistepScheduler(), "it isn't for flow matching"),
        (UniPCMultistepScheduler(**UNIPC, solver_order=3), "it has solver_order 3"),
        (UniPCMultistepScheduler(**UNIPC, use_karras_sigmas=True), "it has use_karras_sigmas True"),
        (FlowMatchEulerDiscreteScheduler(stochastic_sampling=True), "it has stochastic_sampling"),
        (DDIMScheduler(), "it is a DDIMScheduler, for which there is no solver here"),
    ],
    ids=["vp", "order", "karras", "stochastic", "ddim"],
)
def test_schedulers_of_other_times_are_refused(tmp_path, scheduler, message):
    scheduler.save_pretrained(tmp_path / "scheduler")
    with pytest.raises(ValueError, match=message):
        saved_times(str(tmp_path))
