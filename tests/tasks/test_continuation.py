"""Continuation: which latents are given, and that the rest is trained as by the inner task."""

from __future__ import annotations

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from harmony_parts.av import AV, STREAMS
from harmony_parts.tasks.audio_driven import AudioDriven
from harmony_parts.tasks.continuation import Continuation
from harmony_parts.tasks.joint import Joint
from harmony_parts.tasks.video_driven import VideoDriven
from harmony_parts.tasks.weighted_sum import WeightedSum

INNER = st.sampled_from([Joint(), AudioDriven(), VideoDriven(), WeightedSum()])


def draw(n: int, generator: torch.Generator) -> AV[Tensor]:
    t = torch.rand(n, generator=generator) * 0.9 + 0.1
    return AV(t, t.square())


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@example(inner=Joint(), streams="both", bounds=[0.5, 0.5], latents=(2, 2), seed=0)
@given(
    inner=INNER,
    streams=st.sampled_from(["both", "video", "audio"]),
    bounds=st.lists(st.floats(0, 1), min_size=2, max_size=2).map(sorted),
    latents=st.tuples(st.integers(1, 12), st.integers(1, 40)),
    seed=st.integers(0, 99),
)
def test_first_latents_are_given_and_the_rest_is_the_inner_tasks(
    inner, streams, bounds, latents, seed
):
    """k is within its bounds, both streams are given for the same share to rounding, and nothing
    else of the plan changes.
    """
    lengths = AV(*latents)
    plan = Continuation(inner, streams, *bounds).plan(5, draw, seeded(seed), lengths)
    plain = inner.plan(5, draw, seeded(seed), lengths)
    assert plan.names == tuple(f"{name}-continued" for name in plain.names)
    assert torch.equal(plan.source, plain.source)
    shares = []
    for stream in STREAMS:
        assert torch.equal(plan.weights[stream], plain.weights[stream])
        length, before = lengths[stream], plain.times[stream].per_latent()
        after = plan.times[stream].per_latent()
        if length == 1 or streams not in ("both", stream):
            assert torch.equal(after, before)
            continue
        changed = before > 0
        for row in range(len(plan.source)):
            k = int((after[row] == 0).sum()) if changed[row].any() else None
            if k is None:
                assert not after[row].any()
                continue
            assert 1 <= k < length
            assert max(1, bounds[0] * length - 0.5001) <= max(k, 1)
            assert k <= max(1, bounds[1] * length + 0.5001)
            assert not after[row, :k].any()
            assert torch.equal(after[row, k:], before[row, k:])
            shares.append((row, k, length))
    for row, k, length in shares:
        for other, k2, length2 in shares:
            if row == other and 1 < k < length - 1 and 1 < k2 < length2 - 1:
                assert abs(k / length - k2 / length2) <= 0.5 / length + 0.5 / length2 + 1e-6


def test_shares_are_drawn_uniformly():
    """Their mean and spread are those of the uniform distribution."""
    times = Continuation(shortest=0.2, longest=0.6).plan(4000, draw, seeded(), AV(video=1000)).times
    share = (times["video"].per_latent() == 0).double().mean(1)
    spread = 0.4 / 12**0.5
    assert abs(share.mean() - 0.4) < 4 * spread / 4000**0.5
    assert share.std() == pytest.approx(spread, rel=0.05)


def test_settings_are_checked():
    with pytest.raises(ValueError, match="longest must be at least shortest"):
        Continuation(shortest=0.5, longest=0.4)
    with pytest.raises(ValueError, match="streams"):
        Continuation(streams="neither")
