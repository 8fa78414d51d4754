"""`demands`: what a guidance requests of a denoiser, over steps and streams."""

from __future__ import annotations

from typing import Any

import pytest

from harmony_parts.errors import PartContractError
from harmony_parts.guidance.cfg import CFG
from harmony_parts.guidance.demands import LEVELS, PROBED, demands
from harmony_parts.guidance.modality import Modality
from harmony_parts.guidance.none import NoGuidance
from harmony_parts.guidance.protocol import StepTimes, conditional
from harmony_parts.guidance.skip_layer import SkipLayer
from harmony_parts.guidance.sum import Sum
from harmony_parts.guidance.sync_cfg import SyncCFG
from harmony_parts.guidance.window import Window


def test_probed_times_hold_joint_and_driven_steps_at_every_level() -> None:
    wanted = {times for t in LEVELS for times in ((t, t), (t, 0.0), (0.0, t), (1.0, t))}
    assert wanted <= {(times.video, times.audio) for times in PROBED}
    assert all(times.generated() for times in PROBED)
    assert len(set(PROBED)) == len(PROBED)


def test_no_guidance_requests_one_pass_a_step() -> None:
    found = demands(NoGuidance())
    assert found.steps == {times: (conditional(times),) for times in PROBED}
    assert (found.count, found.most, found.hints) == (len(PROBED), 1, frozenset())


def test_hints_of_all_terms_and_windows_are_found() -> None:
    late = Window(SkipLayer(layer=5), low=0.0, high=0.02)
    assert demands(Sum((Modality(), late))).hints == {"isolate", "skip-5"}


@pytest.mark.parametrize("at", LEVELS)
def test_guidance_that_rests_except_at_one_level_is_found(at: float) -> None:
    assert demands(Window(SkipLayer(), low=at - 0.005, high=at)).hints == {"skip-11"}


def test_only_the_models_streams_are_present() -> None:
    video_only = demands(Sum((SyncCFG(), Modality())), ("video",))
    assert set(video_only.steps) == {StepTimes(video=t) for t in LEVELS}
    assert (video_only.most, video_only.hints) == (1, frozenset())
    assert demands(CFG(), ("audio",)).most == 2


def test_passes_are_counted_over_the_requested_times() -> None:
    times = [StepTimes(t, 0.0) for t in (1.0, 0.7, 0.3)]
    found = demands(Window(SyncCFG(), low=0.5, high=1.0), times=times)
    assert (found.count, found.most) == (5, 2)
    assert [each.times for each in found.passes] == [times[0]] * 2 + [times[1]] * 2 + [times[2]]


def test_passes_are_counted_by_each_streams_own_time() -> None:
    """The second step's audio is inside the window, its video isn't."""
    times = [StepTimes(1.0, 1.0), StepTimes(0.92, 0.75), StepTimes(0.8, 0.5)]
    found = demands(Window(SyncCFG(), low=0.5, high=0.9), times=times)
    assert [[each.read for each in passes[1:]] for passes in found.steps.values()] == [
        [],
        [("audio",)],
        [("video",)],
    ]


@pytest.mark.parametrize("answer", [None, conditional(StepTimes(1.0)), ["joint"]], ids=str)
def test_what_is_no_list_of_passes_is_named(answer: Any) -> None:
    """Before the first step, where `harmony explain` and a pipeline ask for the passes."""

    class Wrong:
        def passes(self, times, state):
            return answer

    with pytest.raises(PartContractError, match=r"from passes; return a list of Pass, such as"):
        demands(Wrong())
