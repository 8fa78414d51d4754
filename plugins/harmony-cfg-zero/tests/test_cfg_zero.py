"""The contract, every property, and what the paper says of CFG-Zero*."""

from __future__ import annotations

import pytest
import torch
from harmony_cfg_zero.cfg_zero import CFGZero, fitted
from hypothesis import given, settings
from hypothesis import strategies as st

from harmony_parts.guidance.protocol import CONDITIONAL, conditional
from harmony_parts.testing.contracts.guidance import check_guidance
from harmony_parts.testing.guidance_properties import PROPERTIES, cases, check_exemptions
from harmony_parts.testing.guidance_walks import Walk, steps, velocities, walks

EACH = (CFGZero(), CFGZero(2, 1, zero_steps=0), CFGZero(zero_steps=2))


@pytest.mark.parametrize("guidance", EACH, ids=repr)
def test_contract(guidance):
    check_guidance(guidance)


@pytest.mark.parametrize(("guidance", "holds"), cases(*EACH))
def test_property(guidance, holds):
    holds(guidance)


def test_what_is_declared_not_to_hold_does_not():
    check_exemptions(CFGZero())


def test_without_zero_steps_equal_passes_change_nothing():
    PROPERTIES["fixed-point"](CFGZero(zero_steps=0))


@given(walks(), st.integers(0, 3))
def test_the_first_steps_stand_still_and_cost_one_pass(walk: Walk, zero_steps: int):
    for number, step in enumerate(steps(CFGZero(zero_steps=zero_steps), walk)):
        still = number < zero_steps
        assert (step.passes == [conditional(step.times)]) == still
        assert all((step.result[stream] == 0).all() == still for stream in step.result)


@given(velocities(dtype=torch.float64), velocities(dtype=torch.float64))
def test_the_fit_is_the_nearest(one, two):
    """What is left is across the direction: no other length is nearer."""
    n = min(len(one["video"]), len(two["video"]))
    a, b = one["video"][:n].flatten(1), two["video"][:n].flatten(1)
    made = fitted(a, b)
    assert (
        ((b - made) * a).sum(1).abs() <= 1e-12 * (1e-300 + a.norm(dim=1) * b.norm(dim=1) * 10)
    ).all()


@given(walks())
def test_it_is_the_paper_s_equation(walk: Walk):
    """v' = f v_null + s (v - f v_null), f = <v, v_null> / |v_null|^2 for each sample; s = 1 leaves
    its stream alone.
    """
    for step in steps(CFGZero(3.5, 1, zero_steps=0, drop=("caption",)), walk):
        assert [each.drop for each in step.passes[1:]] == [{"caption"}] * ("video" in step.result)
        for stream in step.result:
            own = step.preds[CONDITIONAL][stream]
            if stream == "audio":
                assert torch.equal(step.result[stream], own)
                continue
            for v, null, made in zip(
                own, step.preds["dropped"][stream], step.result[stream], strict=True
            ):
                fit = (v * null).sum() / (null * null).sum() * null
                assert torch.allclose(made, fit + 3.5 * (v - fit), atol=1e-12)


@settings(deadline=None)  # importing diffusers takes seconds
@given(walks())
def test_it_is_diffusers_arithmetic(walk: Walk):
    """But for their 1e-8 in the denominator, and their float32."""
    theirs = pytest.importorskip("diffusers.guiders.classifier_free_zero_star_guidance")
    for step in steps(CFGZero(3.5, 2.5, zero_steps=0), walk):
        for stream in step.result:
            own, null = (step.preds[name][stream] for name in (CONDITIONAL, "dropped"))
            factor = theirs.cfg_zero_star_scale(own.flatten(1), null.flatten(1)).view(
                -1, *(1,) * (own.ndim - 1)
            )
            want = null * factor + {"video": 3.5, "audio": 2.5}[stream] * (own - null * factor)
            assert torch.allclose(step.result[stream], want, atol=1e-4)


@pytest.mark.parametrize(
    "wrong", [{"zero_steps": -1}, {"video": -1}, {"audio": float("nan")}], ids=str
)
def test_bad_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        CFGZero(**wrong)
