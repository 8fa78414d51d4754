"""The contract, every property, and the equations of APG's paper."""

from __future__ import annotations

import pytest
import torch
from harmony_apg.apg import APG
from hypothesis import given, settings
from hypothesis import strategies as st

from harmony_parts.guidance.cfg import CFG
from harmony_parts.guidance.protocol import CONDITIONAL, LATENTS
from harmony_parts.testing.contracts.guidance import check_guidance
from harmony_parts.testing.guidance_properties import cases, check_exemptions
from harmony_parts.testing.guidance_properties.property import near
from harmony_parts.testing.guidance_walks import Walk, results, steps, walks

EACH = (APG(), APG(bound=0.5), APG(2, 1, parallel=0.3, momentum=0), APG(momentum=0.4, bound=0))


@pytest.mark.parametrize("guidance", EACH, ids=repr)
def test_contract(guidance):
    check_guidance(guidance)


@pytest.mark.parametrize(("guidance", "holds"), cases(*EACH))
def test_property(guidance, holds):
    holds(guidance)


def test_exempt_properties_fail():
    check_exemptions(APG(bound=0.5))


@given(walks(), st.floats(0, 10), st.floats(0, 10))
def test_at_its_off_values_it_equals_cfg(walk: Walk, video: float, audio: float):
    both = (
        results(APG(video, audio, parallel=1, bound=0, momentum=0), walk),
        results(CFG(video, audio), walk),
    )
    assert all(map(near, *both))


@given(walks(), st.floats(0.1, 5))
def test_the_change_is_orthogonal_and_bounded(walk: Walk, bound: float):
    """(x' - x) . x = 0 and |x' - x| <= (s - 1) bound for the clean estimates of each sample."""
    for step in steps(APG(3, 3, bound=bound), walk):
        for stream in step.result:
            t, v = step.times[stream], step.preds[CONDITIONAL][stream].flatten(1)
            x = step.preds[LATENTS][stream].flatten(1) - t * v
            added = -t * (step.result[stream].flatten(1) - v)
            assert (
                (added * x).sum(1).abs() <= 1e-12 * (1 + added.norm(dim=1) * x.norm(dim=1))
            ).all()
            assert (added.norm(dim=1) <= 2 * bound * (1 + 1e-12)).all()


@given(walks())
def test_the_state_holds_unlimited_differences(walk: Walk):
    """x' = x + (s - 1) limit(d), with d = x - x_null + momentum d_before."""
    before: dict[str, torch.Tensor | float] = {}
    for step in steps(APG(3, 2, parallel=1, bound=0.5, momentum=-0.6), walk):
        for stream, push in (("video", 2), ("audio", 1)):
            if stream in step.result:
                t, own = step.times[stream], step.preds[CONDITIONAL][stream].flatten(1)
                d = before[stream] = t * (
                    step.preds["dropped"][stream].flatten(1) - own
                ) - 0.6 * before.get(stream, 0.0)
                added = -t * (step.result[stream].flatten(1) - own)
                assert torch.allclose(
                    added, push * d * (0.5 / d.norm(dim=1, keepdim=True)).clamp(max=1), atol=1e-12
                )


@settings(deadline=None)  # importing diffusers takes seconds
@given(walks())
def test_it_equals_diffusers(walk: Walk):
    """For the clean estimates of both passes, with momentum over the steps."""
    theirs = pytest.importorskip("diffusers.guiders.adaptive_projected_guidance")
    mine = APG(3.5, 2.5, parallel=0.2, bound=1.5, momentum=-0.6)
    buffers = {stream: theirs.MomentumBuffer(mine.momentum) for stream in ("video", "audio")}
    for step in steps(mine, walk):
        for stream in step.result:
            t, x = step.times[stream], step.preds[LATENTS][stream]
            own, null = (x - t * step.preds[name][stream] for name in (CONDITIONAL, "dropped"))
            scale = getattr(mine, stream) - 1
            want = theirs.normalized_guidance(
                own,
                null,
                scale,
                buffers[stream],
                mine.parallel,
                mine.bound,
                use_original_formulation=True,
            )
            assert torch.allclose(x - t * step.result[stream], want, atol=1e-9)


@pytest.mark.parametrize(
    "wrong",
    [{"bound": -1}, {"momentum": 1}, {"momentum": -1}, {"video": -1}, {"audio": float("inf")}],
    ids=str,
)
def test_bad_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        APG(**wrong)
