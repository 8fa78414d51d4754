"""The contract, every property, and the equations of the paper of CFG-Zero*."""

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


def test_exempt_properties_fail():
    check_exemptions(CFGZero())


def test_without_zero_steps_equal_passes_change_nothing():
    PROPERTIES["fixed-point"](CFGZero(zero_steps=0))


@given(walks(), st.integers(0, 3))
def test_the_first_steps_have_zero_velocity_and_one_pass(walk: Walk, zero_steps: int):
    for number, step in enumerate(steps(CFGZero(zero_steps=zero_steps), walk)):
        is_zero = number < zero_steps
        assert (step.passes == [conditional(step.times)]) == is_zero
        assert all((step.result[stream] == 0).all() == is_zero for stream in step.result)


@given(velocities(dtype=torch.float64), velocities(dtype=torch.float64))
def test_the_scaled_negative_is_the_nearest(one, two):
    """The residual is orthogonal to the direction, so no other scale is nearer."""
    n = min(len(one["video"]), len(two["video"]))
    a, b = one["video"][:n].flatten(1), two["video"][:n].flatten(1)
    result = fitted(a, b)
    assert (
        ((b - result) * a).sum(1).abs() <= 1e-12 * (1e-300 + a.norm(dim=1) * b.norm(dim=1) * 10)
    ).all()


@given(walks())
def test_it_computes_the_equation_of_the_paper(walk: Walk):
    """v' = f v_null + s (v - f v_null), f = <v, v_null> / |v_null|^2; s = 1 changes nothing."""
    for step in steps(CFGZero(3.5, 1, zero_steps=0, drop=("caption",)), walk):
        assert [each.drop for each in step.passes[1:]] == [{"caption"}] * ("video" in step.result)
        for stream in step.result:
            own = step.preds[CONDITIONAL][stream]
            if stream == "audio":
                assert torch.equal(step.result[stream], own)
                continue
            for v, null, result in zip(
                own, step.preds["dropped"][stream], step.result[stream], strict=True
            ):
                fit = (v * null).sum() / (null * null).sum() * null
                assert torch.allclose(result, fit + 3.5 * (v - fit), atol=1e-12)


@settings(deadline=None)  # importing diffusers takes seconds
@given(walks())
def test_it_equals_diffusers(walk: Walk):
    """Except for the 1e-8 in their denominator, and their float32."""
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
