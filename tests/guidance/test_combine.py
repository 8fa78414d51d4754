"""Properties of `combine` for all scales and all predictions."""

from __future__ import annotations

import torch
from helpers.guidance_predictions import (
    JOINT,
    OFF,
    SCALE,
    SEED,
    TASKS,
    change,
    guidances,
    near,
    predict,
    same,
)
from helpers.toy_guidance import Constant
from hypothesis import given
from hypothesis import strategies as st

from harmony_parts.av import AV
from harmony_parts.guidance.cfg import CFG
from harmony_parts.guidance.protocol import CONDITIONAL, Guidance, StepTimes, conditional
from harmony_parts.guidance.rescale import Rescale
from harmony_parts.guidance.schedule import Schedule
from harmony_parts.guidance.sync_cfg import SyncCFG
from harmony_parts.guidance.window import Window


@given(TASKS, SEED)
def test_off_values_return_the_conditional_prediction_bit_for_bit(
    times: StepTimes, seed: int
) -> None:
    for guidance in OFF:
        assert list(guidance.passes(times, None)) == [conditional(times)]
        preds = predict(guidance, times, seed)
        assert same(guidance.combine(preds, times, None)[0], preds[CONDITIONAL])


@given(TASKS, SEED, SCALE)
def test_a_scale_of_1_switches_off_only_its_stream(
    times: StepTimes, seed: int, scale: float
) -> None:
    for guidance, stream in (
        (CFG(scale, 1), "audio"),
        (CFG(1, scale), "video"),
        (SyncCFG(scale, 1), "audio"),
        (SyncCFG(1, scale), "video"),
    ):
        preds = predict(guidance, times, seed)
        assert same(
            guidance.combine(preds, times, None)[0].only((stream,)),
            preds[CONDITIONAL].only((stream,)),
        )


@given(SEED)
def test_a_scale_of_0_gives_the_negative_prediction(seed: int) -> None:
    preds = predict(CFG(0, 0), JOINT, seed)
    assert same(CFG(0, 0).combine(preds, JOINT, None)[0], preds["dropped"])
    preds = predict(SyncCFG(0, 0), JOINT, seed)
    guided, _ = SyncCFG(0, 0).combine(preds, JOINT, None)
    assert torch.equal(guided["video"], preds["mute"]["video"])
    assert torch.equal(guided["audio"], preds["static"]["audio"])


@given(SEED, SCALE, SCALE)
def test_sync_cfg_computes_the_equation_of_the_paper(seed: int, video: float, audio: float) -> None:
    guidance = SyncCFG(video, audio)
    preds = predict(SyncCFG(2, 2), JOINT, seed)
    got, _ = guidance.combine(preds, JOINT, None)
    joint, mute, static = preds["joint"], preds["mute"]["video"], preds["static"]["audio"]
    assert near(
        got, AV(mute + video * (joint["video"] - mute), static + audio * (joint["audio"] - static))
    )


@given(guidances(), TASKS, SEED)
def test_equal_predictions_are_unchanged(guidance: Guidance, times: StepTimes, seed: int) -> None:
    preds = predict(guidance, times, seed)
    own = preds[CONDITIONAL]
    agreed = {name: velocity.map(lambda _, v: v, own) for name, velocity in preds.items()}
    assert same(guidance.combine(agreed, times, None)[0], own)


@given(guidances(), TASKS, SEED, st.floats(-3, 3), st.floats(-3, 3))
def test_combine_is_affine(
    guidance: Guidance, times: StepTimes, seed: int, a: float, b: float
) -> None:
    """Scaling and shifting all predictions scales and shifts the result."""
    preds = predict(guidance, times, seed)
    moved, _ = guidance.combine(change(preds, lambda v: a * v + b), times, None)
    assert near(moved, guidance.combine(preds, times, None)[0].map(lambda v: a * v + b))


@given(guidances(), TASKS, SEED, st.lists(st.integers(0, 2), min_size=1, max_size=4))
def test_samples_are_guided_independently(
    guidance: Guidance, times: StepTimes, seed: int, rows: list[int]
) -> None:
    preds = predict(guidance, times, seed)
    picked, _ = guidance.combine(change(preds, lambda v: v[rows]), times, None)
    assert near(picked, guidance.combine(preds, times, None)[0].map(lambda v: v[rows]))


@given(guidances(), SEED, st.sampled_from([("video", "audio"), ("audio", "video")]))
def test_streams_are_combined_independently(
    guidance: Guidance, seed: int, order_of: tuple[str, str]
) -> None:
    changed, unchanged = order_of
    preds = predict(guidance, JOINT, seed)
    other, _ = guidance.combine(change(preds, lambda v: v.sin() + 2, (changed,)), JOINT, None)
    assert torch.equal(other[unchanged], guidance.combine(preds, JOINT, None)[0][unchanged])


@given(TASKS, SEED, SCALE, SCALE)
def test_sync_cfg_is_symmetric_in_the_streams(
    times: StepTimes, seed: int, video: float, audio: float
) -> None:
    """Exchanging the streams, their scales and anchors exchanges the passes and the result."""
    one = SyncCFG(video, audio, mute=Constant("audio"), static=Constant("video"))
    two = SyncCFG(audio, video, mute=Constant("audio"), static=Constant("video"))
    swapped_times, names = (
        StepTimes(times.audio, times.video),
        {
            "mute": "static",
            "static": "mute",
            CONDITIONAL: CONDITIONAL,
        },
    )
    streams = {"video": "audio", "audio": "video"}
    passes = {
        (
            names[p.name],
            frozenset(streams[s] for s, _ in p.replace),
            frozenset(streams[s] for s in p.read),
        )
        for p in one.passes(times, None)
    }
    assert passes == {
        (p.name, frozenset(s for s, _ in p.replace), frozenset(p.read))
        for p in two.passes(swapped_times, None)
    }
    preds = predict(one, times, seed)
    swapped = {names[name]: AV(velocity.audio, velocity.video) for name, velocity in preds.items()}
    a, b = one.combine(preds, times, None)[0], two.combine(swapped, swapped_times, None)[0]
    assert same(AV(a.audio, a.video), b)


INACTIVE = st.sampled_from(
    [Window(CFG(), 0.8, 1.0), Schedule(CFG(), (0.0,)), Window(SyncCFG(), 0.1, 0.9), Rescale(CFG())]
)


@given(guidances() | INACTIVE, TASKS, SEED)
def test_additional_streams_of_predictions_change_nothing(
    guidance: Guidance, times: StepTimes, seed: int
) -> None:
    """Another guidance may read more streams of the same pass."""
    preds = predict(guidance, times, seed)
    more = AV(
        torch.zeros(3, 2, 2, 1, 2, dtype=torch.float64), torch.zeros(3, 5, 3, dtype=torch.float64)
    )
    full = {
        name: more.replace(**{s: velocity[s] for s in velocity}) for name, velocity in preds.items()
    }
    assert same(guidance.combine(full, times, None)[0], guidance.combine(preds, times, None)[0])
