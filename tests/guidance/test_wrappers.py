"""Guidances that wrap others, beyond the properties that hold for all guidances."""

from __future__ import annotations

import attrs
import pytest
import torch
from helpers.toy_guidance import Counting
from hypothesis import given
from hypothesis import strategies as st

from harmony_parts.av import AV
from harmony_parts.guidance.cfg import CFG
from harmony_parts.guidance.data_space import DataSpace
from harmony_parts.guidance.modality import Modality
from harmony_parts.guidance.none import NoGuidance
from harmony_parts.guidance.protocol import CONDITIONAL, LATENTS, Pass, StepTimes, conditional
from harmony_parts.guidance.rescale import Rescale
from harmony_parts.guidance.schedule import Schedule
from harmony_parts.guidance.skip_layer import SkipLayer
from harmony_parts.guidance.sum import Sum
from harmony_parts.guidance.sync_cfg import SyncCFG
from harmony_parts.guidance.window import Window
from harmony_parts.testing.contracts.guidance import check_guidance
from harmony_parts.testing.guidance_properties.property import near, same
from harmony_parts.testing.guidance_walks import Walk, results, steps, walks

UNIT = st.floats(0, 1)


def deviations(v: torch.Tensor) -> torch.Tensor:
    """The standard deviation of each sample."""
    return v.flatten(1).std(dim=1, correction=0)


@pytest.mark.parametrize(
    ("guidance", "hints"),
    [
        (Modality(), ("isolate",)),
        (SkipLayer(layer=3), ("skip-3",)),
        (Rescale(CFG()), ()),
        (Window(SyncCFG()), ()),
        (Schedule(CFG()), ()),
        (DataSpace(Rescale(Sum((CFG(), Modality())))), ("isolate",)),
    ],
    ids=repr,
)
def test_contract(guidance, hints):
    check_guidance(guidance, hints)


@given(walks(), UNIT)
def test_rescale_interpolates_the_standard_deviation(walk: Walk, share: float):
    """std(g') = (1 - share) std(g) + share std(v)."""
    pairs = zip(steps(Rescale(CFG(6, 5), share), walk), results(CFG(6, 5), walk), strict=True)
    for step, plain in pairs:
        for stream in plain:
            want = (1 - share) * deviations(plain[stream]) + share * deviations(
                step.preds[CONDITIONAL][stream]
            )
            assert torch.allclose(deviations(step.result[stream]), want, rtol=1e-9, atol=1e-12)


def test_rescale_leaves_constants_unchanged():
    """Zero variance of either prediction gives finite results that aren't amplified."""
    times = StepTimes(0.5, None)
    flat, full = torch.full((2, 1, 1, 1, 4), 3.0), torch.arange(8.0).reshape(2, 1, 1, 1, 4)
    for own, null in ((flat, flat), (flat, flat + 1), (full, flat), (flat, full), (full * 0, full)):
        result, _ = Rescale(CFG(2, 2)).combine(
            {CONDITIONAL: AV(own), "dropped": AV(null)}, times, None
        )
        assert result["video"].isfinite().all()
    # far below the resolution of float32 beside `full`: left unchanged, not amplified
    noise = full * 1e-9
    result, _ = Rescale(CFG(0, 0), 1.0).combine(
        {CONDITIONAL: AV(full), "dropped": AV(noise)}, times, None
    )
    assert torch.equal(result["video"], noise)
    result, _ = Rescale(CFG(2, 2), 1.0).combine(
        {CONDITIONAL: AV(flat), "dropped": AV(flat + 1)}, times, None
    )
    assert torch.equal(result["video"], flat - 1)


@given(walks())
def test_rescaled_clean_estimates_equal_ltx2(walk: Walk):
    """LTX-2 guides clean estimates x_0:

    pred = cond + (c - 1)(cond - text) + (m - 1)(cond - mod)
    pred *= r std(cond) / std(pred) + 1 - r
    """
    guidance = DataSpace(Rescale(Sum((CFG(3, 7), Modality(3, 2.5))), 0.7))
    for step in steps(guidance, walk):
        for stream in step.result:
            x, t = step.preds[LATENTS][stream], step.times[stream]
            clean = {
                name: x - t * v[stream]
                for name, v in step.preds.items()
                if name != LATENTS and stream in tuple(v)
            }
            cond = clean[CONDITIONAL]
            pred = cond + (getattr(CFG(3, 7), stream) - 1) * (cond - clean["0.dropped"])
            if "1.apart" in clean:
                pred = pred + (getattr(Modality(3, 2.5), stream) - 1) * (cond - clean["1.apart"])
            factor = 0.7 * deviations(cond) / deviations(pred) + 0.3
            want = pred * factor.view(-1, *(1,) * (pred.ndim - 1))
            assert torch.allclose(x - t * step.result[stream], want, atol=1e-10)


@given(walks(), UNIT)
def test_a_window_excludes_low_and_includes_high(walk: Walk, edge: float):
    low, high = edge / 2, (1 + edge) / 2
    window = Window(CFG(), low, high)
    for step in steps(window, walk):
        inside = [s for s in step.times.generated() if low < step.times[s] <= high]
        assert [each.read for each in step.passes[1:]] == ([tuple(inside)] if inside else [])


@attrs.frozen
class Doubles:
    """A guidance that changes a prediction even if all passes agree."""

    def passes(self, times, state):
        return [conditional(times)]

    def combine(self, preds, times, state):
        return preds[CONDITIONAL].only(times.generated()).map(lambda v: 2 * v), state


@given(walks(), UNIT)
def test_a_window_guides_each_stream_by_its_own_time(walk: Walk, edge: float):
    """Of guidances without state, at every step: inside `inner`, outside the conditional
    prediction, bit for bit, though predictions for streams outside are missing.
    """
    low, high = edge / 2, (1 + edge) / 2
    some = (SyncCFG(), Sum((CFG(), Modality(), SyncCFG())), DataSpace(Rescale(CFG())), Doubles())
    for inner in some:
        for step, plain in zip(
            steps(Window(inner, low, high), walk), results(inner, walk), strict=True
        ):
            for s in step.result:
                want = plain if low < step.times[s] <= high else step.preds[CONDITIONAL]
                assert torch.equal(step.result[s], want[s])


def test_a_pass_that_an_active_stream_needs_is_kept():
    """Even if only the inactive stream is read from it."""

    @attrs.frozen
    class Chain:
        def passes(self, times, state):
            return [
                conditional(times),
                Pass("first", times, drop=("sound",), read=("audio",)),
                Pass("second", times, drop=("caption",), read=("video",), needs=("first",)),
                Pass("third", times, drop=("speech",), read=("audio",)),
            ]

        def combine(self, preds, times, state):
            return AV(preds["second"]["video"], preds["third"]["audio"]), (state or 0) + 1

    walk = Walk((StepTimes(0.9, 0.4), StepTimes(0.5, 0.2)))
    first, second = steps(Window(Chain(), 0.5, 1), walk)
    assert [each.name for each in first.passes] == [CONDITIONAL, "first", "second"]
    assert torch.equal(first.result["video"], first.preds["second"]["video"])
    assert torch.equal(first.result["audio"], first.preds[CONDITIONAL]["audio"])
    assert (first.state, second.state) == (1, 1)
    assert second.passes == [conditional(second.times)]


@pytest.mark.parametrize(
    ("factors", "time", "factor"),
    [
        ((1.0,), 0.3, 1),
        ((0.0, 2.0), 1.0, 0),
        ((0.0, 2.0), 0.25, 1.5),
        ((0, 1, 0), 0.5, 1),
        ((0, 1, 0), 0.75, 0.5),
        ((3, 1, 2), 1e-9, 2),
    ],
)
def test_a_schedule_scales_the_difference(factors, time, factor):
    walk = Walk((StepTimes(time, time),))
    step = next(steps(Schedule(CFG(), factors), walk))
    plain = results(CFG(), walk)[0]
    own = step.preds[CONDITIONAL]
    assert near(step.result, own.map(lambda v, g: v + factor * (g - v), plain)) or abs(time) < 1e-6
    assert torch.allclose(
        step.result["audio"], own["audio"] + factor * (plain["audio"] - own["audio"]), atol=1e-6
    )
    assert len(step.passes) == (2 if factor else 1)


@given(walks(), st.lists(st.floats(0, 3), min_size=1, max_size=4).map(tuple))
def test_a_schedule_scales_each_stream_by_its_own_time(walk: Walk, factors):
    for step, plain in zip(
        steps(Schedule(SyncCFG(), factors), walk), results(SyncCFG(), walk), strict=True
    ):
        for s in step.result:
            places = torch.linspace(1, 0, max(2, len(factors)), dtype=torch.float64).tolist()
            heights = factors if len(factors) > 1 else factors * 2
            factor = interpolated(step.times[s], places, heights)
            own = step.preds[CONDITIONAL][s]
            assert torch.allclose(step.result[s], own + factor * (plain[s] - own), atol=1e-9)


def interpolated(t: float, places: list[float], heights: tuple[float, ...]) -> float:
    """The piecewise linear function through (places, heights), places descending."""
    for k in range(len(places) - 1):
        if places[k + 1] <= t <= places[k]:
            share = (places[k] - t) / (places[k] - places[k + 1])
            return heights[k] + share * (heights[k + 1] - heights[k])
    raise AssertionError(t)


def test_a_stream_whose_factor_is_0_is_not_guided():
    """No pass reads it, and it is its conditional prediction bit for bit."""
    walk = Walk((StepTimes(1.0, 0.5),))
    step = next(steps(Schedule(CFG(), (0, 2)), walk))
    assert [each.read for each in step.passes] == [("video", "audio"), ("audio",)]
    assert torch.equal(step.result["video"], step.preds[CONDITIONAL]["video"])
    assert not torch.equal(step.result["audio"], step.preds[CONDITIONAL]["audio"])


@given(walks())
def test_wrappers_at_off_values_equal_the_inner_guidance(walk: Walk):
    """Results (bit for bit), passes and state are equal, for guidances with state, too."""
    for inner in (CFG(), SyncCFG(), Counting(), Sum((CFG(), Counting()))):
        want = list(steps(inner, walk))
        for off in (
            Rescale(inner, 0),
            Window(inner, 0, 1),
            Schedule(inner, (1,)),
            Schedule(inner, (1, 1, 1)),
        ):
            got = list(steps(off, walk))
            assert all(same(a.result, b.result) for a, b in zip(got, want, strict=True))
            assert [(step.passes, step.state) for step in got] == [
                (step.passes, step.state) for step in want
            ]


@given(walks())
def test_a_sum_gives_each_term_its_state(walk: Walk):
    """A term with state, next to one without, has the same passes, state and result."""
    for step, single in zip(
        steps(Sum((NoGuidance(), Counting())), walk), steps(Counting(), walk), strict=True
    ):
        assert step.passes == single.passes
        assert step.state == (None, single.state)
        assert same(step.result, single.result)


@pytest.mark.parametrize(
    "guidance", [Window(Counting(), 0.3, 0.8), Schedule(Counting(), (0, 0, 3, 0, 0))], ids=repr
)
def test_the_inner_state_does_not_change_at_inactive_steps(guidance):
    state, seen = None, []
    for t in (1.0, 0.9, 0.7, 0.6, 0.4, 0.2, 0.1):
        times, inside = StepTimes(t, t), 0.3 < t <= 0.7
        passes = guidance.passes(times, state)
        assert len(passes) == (2 if inside else 1)
        _, state = guidance.combine(Walk((times,)).predictions(0, passes), times, state)
        seen.append(state)
    assert seen == [None, None, 1, 2, 3, 3, 3]


@attrs.frozen
class ChecksInputs:
    """A guidance that checks that it gets only its two passes, by their names, and x_t."""

    x: AV[torch.Tensor] = attrs.field(eq=False)

    def passes(self, times, state):
        return [conditional(times), Pass("mine", times, drop=("speech",), read=times.generated())]

    def combine(self, preds, times, state):
        assert set(preds) == {CONDITIONAL, "mine", LATENTS}
        assert same(preds[LATENTS], self.x)
        return preds["mine"], state


@pytest.mark.parametrize(
    "around", [Rescale, Window, Schedule, DataSpace, lambda inner: Sum((CFG(), inner))]
)
def test_the_inner_guidance_gets_its_passes_and_the_latents(around):
    walk = Walk((StepTimes(0.5, 0.5),))
    inner = ChecksInputs(AV(*(walk.values(0, LATENTS, stream) for stream in ("video", "audio"))))
    assert len(list(steps(around(inner), walk))) == 1


@given(walks())
def test_data_space_does_not_change_guidance_by_differences(walk: Walk):
    for inner in (CFG(), SyncCFG(), Sum((CFG(), Modality())), SkipLayer(), Counting()):
        assert all(map(near, results(DataSpace(inner), walk), results(inner, walk)))
    assert all(map(same, results(DataSpace(NoGuidance()), walk), results(NoGuidance(), walk)))


def test_modality_guidance_needs_two_streams():
    for times in (StepTimes(0.5, None), StepTimes(None, 0.5)):
        assert Modality().passes(times, None) == [conditional(times)]
    driven = Modality().passes(StepTimes(0.5, 0.0), None)[1]
    assert (driven.hints, driven.drop, driven.read) == (
        frozenset({"isolate"}),
        frozenset(),
        ("video",),
    )


def test_skip_layer_drops_the_text_by_default():
    assert SkipLayer().passes(StepTimes(1, 1), None)[1].drop == {"caption", "sound", "speech"}
    single = SkipLayer(layer=2, drop=()).passes(StepTimes(1, 1), None)[1]
    assert (single.drop, single.hints) == (frozenset(), frozenset({"skip-2"}))
