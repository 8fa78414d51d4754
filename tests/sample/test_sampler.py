"""The sampler's loop: given streams, state, progress and precision."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import torch
from helpers.toy_guidance import (
    SYNC,
    caption,
    flat,
    gaussian,
    latents,
    make,
)
from torch import Tensor

from harmony_parts.av import AV
from harmony_parts.flow.euler import Euler
from harmony_parts.flow.shift import ConstantShift
from harmony_parts.guidance.cfg import CFG
from harmony_parts.guidance.none import NoGuidance
from harmony_parts.guidance.protocol import (
    CONDITIONAL,
    LATENTS,
    Guidance,
    Pass,
    StepTimes,
    conditional,
)
from harmony_parts.guidance.sum import Sum
from harmony_parts.sample.sampler import Step
from harmony_parts.testing.gaussian_denoiser import Recorded
from harmony_parts.testing.guidance_properties.property import same


@pytest.mark.parametrize(
    "guidance", [NoGuidance(), CFG(), SYNC, Sum((CFG(), SYNC))], ids=lambda g: type(g).__name__
)
def test_given_streams_are_returned_unchanged(guidance: Guidance) -> None:
    given = latents(seed=5)
    for stream in ("video", "audio"):
        result = make(
            gaussian(),
            given.only((stream,)),
            caption(),
            given=given.replace(**{stream: None}),
            guidance=guidance,
        )
        other = {"video": "audio", "audio": "video"}[stream]
        assert torch.equal(result[other], latents(seed=5)[other])
        assert tuple(result) == ("video", "audio")


def test_samples_are_generated_independently() -> None:
    noise, conditions = latents(), caption()
    guidance = Sum((CFG(3, 2), SYNC))
    rows = torch.tensor([2, 0])
    some = make(
        gaussian(),
        noise.map(lambda x: x[rows]),
        {"caption": conditions["caption"].rows(rows)},
        guidance=guidance,
    )
    whole = make(gaussian(), noise, conditions, guidance=guidance)
    assert torch.allclose(flat(some), flat(whole)[rows], rtol=1e-10, atol=1e-10)


def test_sampling_is_deterministic() -> None:
    guidance = Sum((CFG(3, 2), SYNC))
    assert torch.equal(
        *(flat(make(gaussian(), latents(), caption(), guidance=guidance)) for _ in range(2))
    )


@attrs.frozen
class Midpoint:
    """Two velocities per step."""

    order = 2

    def step(self, x, times, next_times, velocity, memory=None):
        moved, half = x, times.map(lambda t, t_next: (t + t_next) / 2, next_times)
        for at, until in ((times, half), (half, next_times)):
            v = velocity(moved, at)
            moved = x.replace(**{s: x[s] + (until[s] - times[s]) * v[s] for s in v})
        return moved, memory


def test_guidance_state_advances_once_per_step() -> None:
    """All velocities of step k get the state after step k - 1."""
    seen: list[Any] = []

    @attrs.frozen
    class Remembering:
        def passes(self, times: StepTimes, state: Any) -> list[Pass]:
            return [conditional(times)]

        def combine(self, preds: Any, times: StepTimes, state: Any) -> Any:
            seen.append(state)
            return preds[CONDITIONAL], [*(state or []), times.video]

    # the state is that after a step's first stage, so of these times
    first, second = [1.0], [1.0, 0.75]
    for solver, want in (
        (Euler(), [None, first, second]),
        (Midpoint(), [None, None, first, first, second, second]),
    ):
        seen.clear()
        make(
            gaussian(),
            latents(),
            guidance=Remembering(),
            solver=solver,
            shift=ConstantShift(1.0),
            steps=4,
        )
        del seen[len(want) :]
        assert seen == want


def test_progress_is_called_after_every_step() -> None:
    seen: list[Step] = []
    result = make(gaussian(), latents(), steps=3, progress=seen.append)
    assert [(step.done, step.steps) for step in seen] == [(1, 3), (2, 3), (3, 3)]
    assert seen[-1].latents is result
    assert seen[-1].estimate is result


def test_the_result_has_the_precision_of_the_noise() -> None:
    """Predictions in bfloat16 are guided and integrated in float32, without gradients."""
    model = Recorded(gaussian(), after=lambda _, velocity: velocity.map(lambda v: v.bfloat16()))
    result = make(
        model, latents().map(lambda x: x.float().requires_grad_()), caption(), guidance=CFG(3, 3)
    )
    for stream in result:
        assert result[stream].dtype == torch.float32
        assert not result[stream].requires_grad


def test_bfloat16_latents_are_guided_in_float32() -> None:
    """Guidance and times are float32; the solver gets bfloat16."""
    wide, narrow = {torch.float32}, {torch.bfloat16}

    @attrs.frozen
    class ChecksPrecision(CFG):
        def combine(self, preds: Any, times: StepTimes, state: Any) -> tuple[AV[Tensor], Any]:
            assert {v[s].dtype for v in preds.values() for s in v} == wide
            assert same(preds[LATENTS].map(lambda x: x.bfloat16()), noise)
            return CFG.combine(self, preds, times, state)

    @attrs.frozen
    class ChecksVelocity(Euler):
        def step(
            self,
            x: AV[Tensor],
            times: AV[float],
            next_times: AV[float],
            velocity: Any,
            memory: Any = None,
        ) -> tuple[AV[Tensor], Any]:
            v = velocity(x, times)
            assert {v[s].dtype for s in v} == narrow
            return Euler.step(self, x, times, next_times, lambda *_: v, memory)

    model, noise = Recorded(gaussian()), latents().map(lambda x: x.bfloat16())
    result = make(
        model, noise, caption(), guidance=ChecksPrecision(3, 3), solver=ChecksVelocity(), steps=1
    )
    assert {result[s].dtype for s in result} == narrow
    assert {call.times[s].values.dtype for call in model.calls for s in call.times} == wide
