"""What guidance makes of predictions: properties that hold for all scales and all predictions."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from typing import Any

import attrs
import pytest
import torch
from helpers.toy_guidance import Constant, Estimate, caption, gaussian, latents, make
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from harmony_parts.anchors.mute import MuteAudio
from harmony_parts.anchors.protocol import Anchor
from harmony_parts.anchors.static import StaticVideo
from harmony_parts.av import AV
from harmony_parts.errors import PartContractError
from harmony_parts.guidance.cfg import CFG
from harmony_parts.guidance.modality import Modality
from harmony_parts.guidance.none import NoGuidance
from harmony_parts.guidance.protocol import CONDITIONAL, Guidance, Pass, StepTimes, conditional
from harmony_parts.guidance.rescale import Rescale
from harmony_parts.guidance.schedule import Schedule
from harmony_parts.guidance.skip_layer import SkipLayer
from harmony_parts.guidance.sum import Sum
from harmony_parts.guidance.sync_cfg import SyncCFG
from harmony_parts.guidance.window import Window
from harmony_parts.plugin import knob
from harmony_parts.sample.pass_graph import ask, noisy, order
from harmony_parts.testing.contracts.guidance import check_guidance

SCALE = st.floats(0, 12)
SEED = st.integers(0, 999)
TASKS = st.sampled_from(
    [
        StepTimes(0.7, 0.7),
        StepTimes(0.7, 0.0),
        StepTimes(0.0, 0.7),
        StepTimes(0.7),
        StepTimes(None, 0.7),
    ]
)
JOINT = StepTimes(0.7, 0.7)
OFF = (NoGuidance(), CFG(1, 1), SyncCFG(1, 1), Sum(()), Sum((CFG(1, 1), SyncCFG(1, 1))))
KNOWN = ("caption", "sound", "speech")


def predict(
    guidance: Guidance, times: StepTimes, seed: int = 0, n: int = 3
) -> dict[str, AV[Tensor]]:
    """Random predictions of each distinct pass, float64, as the sampler gives them."""
    random = torch.Generator().manual_seed(seed)
    answers = {}
    for run in order(ask(guidance, times, None, hints=(), droppable=KNOWN), guidance):
        both = AV(
            torch.randn(n, 2, 2, 1, 2, dtype=torch.float64, generator=random),
            torch.randn(n, 5, 3, dtype=torch.float64, generator=random),
        )
        answers.update(dict.fromkeys(run.names, both.only(run.read)))
    return answers


def change(
    preds: Mapping[str, AV[Tensor]], how: Any, streams: tuple[str, ...] = ("video", "audio")
) -> dict[str, AV[Tensor]]:
    """`preds` with `how` done to every velocity of `streams`."""
    return {
        name: velocity.replace(**{s: how(velocity[s]) for s in velocity if s in streams})
        for name, velocity in preds.items()
    }


def same(a: AV[Tensor], b: AV[Tensor]) -> bool:
    return tuple(a) == tuple(b) and all(torch.equal(a[s], b[s]) for s in a)


def near(a: AV[Tensor], b: AV[Tensor]) -> bool:
    """Within the rounding of a dozen float64 operations on numbers of size 1,000 at most."""
    return tuple(a) == tuple(b) and all(
        torch.allclose(a[s], b[s], rtol=1e-11, atol=1e-11) for s in a
    )


@st.composite
def guidances(draw: st.DrawFn, depth: int = 1) -> Guidance:
    scales = (draw(SCALE | st.just(1.0)), draw(SCALE | st.just(1.0)))
    kinds = ["none", "cfg", "sync", *(["sum"] if depth else [])]
    match draw(st.sampled_from(kinds)):
        case "none":
            return NoGuidance()
        case "cfg":
            return CFG(*scales, drop=draw(st.sampled_from([("caption",), ("caption", "sound")])))
        case "sync":
            return SyncCFG(*scales, drop=draw(st.sampled_from([(), ("caption",)])))
        case _:
            return Sum(tuple(draw(st.lists(guidances(depth=depth - 1), max_size=3))))


@pytest.mark.parametrize(
    "guidance",
    [
        *OFF,
        CFG(),
        CFG(0, 0),
        CFG(3, 1),
        SyncCFG(),
        SyncCFG(1, 4),
        SyncCFG(0, 0, drop=("caption",)),
        Sum((CFG(), SyncCFG())),
        Sum((Sum((CFG(),)), CFG())),
    ],
    ids=repr,
)
def test_contract(guidance: Guidance) -> None:
    check_guidance(guidance)


@given(guidances())
def test_contract_of_any(guidance: Guidance) -> None:
    check_guidance(guidance)


@given(TASKS, SEED)
def test_off_is_off(times: StepTimes, seed: int) -> None:
    for guidance in OFF:
        assert list(guidance.passes(times, None)) == [conditional(times)]
        preds = predict(guidance, times, seed)
        assert same(guidance.combine(preds, times, None)[0], preds[CONDITIONAL])


@given(TASKS, SEED, SCALE)
def test_each_stream_has_its_own_switch(times: StepTimes, seed: int, scale: float) -> None:
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
def test_scale_zero_is_the_negative(seed: int) -> None:
    preds = predict(CFG(0, 0), JOINT, seed)
    assert same(CFG(0, 0).combine(preds, JOINT, None)[0], preds["dropped"])
    preds = predict(SyncCFG(0, 0), JOINT, seed)
    guided, _ = SyncCFG(0, 0).combine(preds, JOINT, None)
    assert torch.equal(guided["video"], preds["mute"]["video"])
    assert torch.equal(guided["audio"], preds["static"]["audio"])


@given(SEED, SCALE, SCALE)
def test_sync_cfg_is_the_paper_s_equation(seed: int, video: float, audio: float) -> None:
    guidance = SyncCFG(video, audio)
    preds = predict(SyncCFG(2, 2), JOINT, seed)
    got, _ = guidance.combine(preds, JOINT, None)
    joint, mute, static = preds["joint"], preds["mute"]["video"], preds["static"]["audio"]
    assert near(
        got, AV(mute + video * (joint["video"] - mute), static + audio * (joint["audio"] - static))
    )


@given(guidances(), TASKS, SEED)
def test_passes_that_agree_change_nothing(guidance: Guidance, times: StepTimes, seed: int) -> None:
    preds = predict(guidance, times, seed)
    own = preds[CONDITIONAL]
    agreed = {name: velocity.map(lambda _, v: v, own) for name, velocity in preds.items()}
    assert same(guidance.combine(agreed, times, None)[0], own)


@given(guidances(), TASKS, SEED, st.floats(-3, 3), st.floats(-3, 3))
def test_affine(guidance: Guidance, times: StepTimes, seed: int, a: float, b: float) -> None:
    """A scale and an offset of all predictions are those of the guided one: no term has a direction
    or a size of its own.
    """
    preds = predict(guidance, times, seed)
    moved, _ = guidance.combine(change(preds, lambda v: a * v + b), times, None)
    assert near(moved, guidance.combine(preds, times, None)[0].map(lambda v: a * v + b))


@given(guidances(), TASKS, SEED, st.lists(st.integers(0, 2), min_size=1, max_size=4))
def test_samples_are_guided_by_themselves(
    guidance: Guidance, times: StepTimes, seed: int, rows: list[int]
) -> None:
    preds = predict(guidance, times, seed)
    picked, _ = guidance.combine(change(preds, lambda v: v[rows]), times, None)
    assert near(picked, guidance.combine(preds, times, None)[0].map(lambda v: v[rows]))


@given(guidances(), SEED, st.sampled_from([("video", "audio"), ("audio", "video")]))
def test_streams_are_combined_by_themselves(
    guidance: Guidance, seed: int, order_of: tuple[str, str]
) -> None:
    changed, kept = order_of
    preds = predict(guidance, JOINT, seed)
    other, _ = guidance.combine(change(preds, lambda v: v.sin() + 2, (changed,)), JOINT, None)
    assert torch.equal(other[kept], guidance.combine(preds, JOINT, None)[0][kept])


@given(TASKS, SEED, SCALE, SCALE)
def test_sync_cfg_treats_the_streams_alike(
    times: StepTimes, seed: int, video: float, audio: float
) -> None:
    """Video and audio exchanged, with their scales and anchors, exchanges the result, and what is
    asked.
    """
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
    asked = {
        (
            names[p.name],
            frozenset(streams[s] for s, _ in p.replace),
            frozenset(streams[s] for s in p.read),
        )
        for p in one.passes(times, None)
    }
    assert asked == {
        (p.name, frozenset(s for s, _ in p.replace), frozenset(p.read))
        for p in two.passes(swapped_times, None)
    }
    preds = predict(one, times, seed)
    swapped = {names[name]: AV(velocity.audio, velocity.video) for name, velocity in preds.items()}
    a, b = one.combine(preds, times, None)[0], two.combine(swapped, swapped_times, None)[0]
    assert same(AV(a.audio, a.video), b)


@given(guidances(0), TASKS, SEED, st.lists(st.sampled_from(OFF), max_size=3), st.integers(0, 3))
def test_a_sum_with_terms_that_are_off_is_its_one_term(
    guidance: Guidance, times: StepTimes, seed: int, off: list[Guidance], at: int
) -> None:
    summed = Sum((*off[:at], guidance, *off[at:]))
    preds = predict(summed, times, seed)
    k = len(off[:at])
    own = {
        each.name: preds[CONDITIONAL if each == conditional(times) else f"{k}.{each.name}"]
        for each in guidance.passes(times, None)
    }
    assert same(summed.combine(preds, times, None)[0], guidance.combine(own, times, None)[0])


@given(TASKS, SEED, guidances(0), guidances(0))
def test_a_sum_adds_differences(times: StepTimes, seed: int, one: Guidance, two: Guidance) -> None:
    summed = Sum((one, two))
    preds = predict(summed, times, seed)
    own = preds[CONDITIONAL].only(times.generated())
    results = []
    for k, term in enumerate((one, two)):
        mine = {
            each.name: preds[CONDITIONAL if each == conditional(times) else f"{k}.{each.name}"]
            for each in term.passes(times, None)
        }
        results.append(term.combine(mine, times, None)[0])
    assert near(
        summed.combine(preds, times, None)[0],
        own.map(lambda c, a, b: c + (a - c) + (b - c), *results),
    )


def test_sums_switch_per_stream() -> None:
    """CFG on the video and SyncCFG on the audio: each stream has one term, and gets it bit for
    bit.
    """
    cfg, sync = CFG(3.3, 1), SyncCFG(1, 2.2)
    summed = Sum((cfg, sync))
    preds = predict(summed, JOINT)
    got, _ = summed.combine(preds, JOINT, None)
    assert torch.equal(
        got["video"], torch.lerp(preds["0.dropped"]["video"], preds["joint"]["video"], 3.3)
    )
    assert torch.equal(
        got["audio"], torch.lerp(preds["1.static"]["audio"], preds["joint"]["audio"], 2.2)
    )


def runs(
    guidance: Guidance, times: StepTimes = JOINT, droppable: tuple[str, ...] = KNOWN
) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    return [
        (run.names, run.read)
        for run in order(ask(guidance, times, None, hints=(), droppable=droppable), guidance)
    ]


def test_equal_passes_are_run_once() -> None:
    both = ("video", "audio")
    assert runs(Sum((CFG(3, 1), CFG(1, 2), CFG(5, 5)))) == [
        ((CONDITIONAL,), both),
        (("0.dropped", "1.dropped", "2.dropped"), both),
    ]
    assert runs(CFG(3, 1)) == [((CONDITIONAL,), both), (("dropped",), ("video",))]
    assert len(runs(Sum((CFG(), SyncCFG())))) == 4
    assert len(runs(Sum((CFG(drop=("caption",)), CFG(drop=("caption", "sound")))))) == 3
    # Names that the model isn't told are nothing to drop, so these two are the same, and without
    # any the negative is the positive.
    assert (
        len(
            runs(
                Sum((CFG(drop=("caption",)), CFG(drop=("caption", "sound")))),
                droppable=("caption",),
            )
        )
        == 2
    )
    assert runs(CFG(), droppable=()) == [((CONDITIONAL, "dropped"), both)]
    assert len(runs(Sum((SyncCFG(), SyncCFG(mute=Constant("audio")))))) == 4


def test_which_passes_are_equal() -> None:
    """Those of which the denoiser sees the same: not names, what is read, what is waited for, or in
    which order anchors are named.
    """
    own, anchors = conditional(JOINT), {"video": Constant("video"), "audio": Constant("audio")}
    for one, two in (
        (own, Pass("other", JOINT, read=("audio",), needs=(CONDITIONAL,), remedy="none")),
        (
            Pass("a", JOINT, replace=anchors),
            Pass("b", JOINT, replace=dict(reversed(anchors.items()))),
        ),
        (Pass("a", JOINT, replace=anchors), Pass("b", JOINT, replace=list(anchors.items()))),
        (Pass("a", JOINT, drop=("caption", "sound")), Pass("b", JOINT, drop=["sound", "caption"])),
    ):
        assert len(order([one, two], CFG())) == 1
    for other in (
        Pass(CONDITIONAL, StepTimes(0.7)),
        Pass(CONDITIONAL, StepTimes(0.7, 0.0)),
        Pass(CONDITIONAL, JOINT, hints=("isolate",)),
        Pass(CONDITIONAL, JOINT, drop=("caption",)),
        Pass(CONDITIONAL, JOINT, replace=anchors),
    ):
        assert len(order([own, other], CFG())) == 2


def test_passes_of_each_task() -> None:
    """A stream that is given is neither read nor guided; only a static video waits for the task's
    own pass.
    """
    video, audio = ("video",), ("audio",)
    assert runs(SyncCFG(), StepTimes(0.5, 0.0)) == [((CONDITIONAL,), video), (("mute",), video)]
    assert runs(SyncCFG(), StepTimes(0.0, 0.5)) == [((CONDITIONAL,), audio), (("static",), audio)]
    assert runs(SyncCFG(), StepTimes(0.5, None)) == [((CONDITIONAL,), video)]
    asked = {each.name: each for each in SyncCFG().passes(JOINT, None)}
    assert asked["mute"].replace == (("audio", MuteAudio()),)
    assert asked["static"].replace == (("video", StaticVideo()),)
    assert (asked["mute"].needs, asked["static"].needs) == ((), (CONDITIONAL,))


RESTING = st.sampled_from(
    [Window(CFG(), 0.8, 1.0), Schedule(CFG(), (0.0,)), Window(SyncCFG(), 0.1, 0.9), Rescale(CFG())]
)


@given(guidances() | RESTING, TASKS, SEED)
def test_predictions_of_more_than_was_asked_change_nothing(
    guidance: Guidance, times: StepTimes, seed: int
) -> None:
    """Another guidance may have asked for more of the same pass."""
    preds = predict(guidance, times, seed)
    more = AV(
        torch.zeros(3, 2, 2, 1, 2, dtype=torch.float64), torch.zeros(3, 5, 3, dtype=torch.float64)
    )
    full = {
        name: more.replace(**{s: velocity[s] for s in velocity}) for name, velocity in preds.items()
    }
    assert same(guidance.combine(full, times, None)[0], guidance.combine(preds, times, None)[0])


def test_what_can_be_read_of_a_pass() -> None:
    """The streams that go in at a time above 0: not the given one, nor an anchor, whatever it says
    it reads.
    """
    driven, mute = StepTimes(0.7, 0.0), {"audio": Constant("audio")}
    assert noisy(Pass("a", driven)) == ("video",)
    assert noisy(Pass("a", JOINT)) == ("video", "audio")
    assert noisy(Pass("a", JOINT, replace=mute)) == ("video",)
    (run,) = order([Pass("a", driven)], CFG())
    assert run.read == ("video",)
    with pytest.raises(PartContractError, match="reads audio; what can be read of it is video"):
        ask(Asks(Pass("a", driven, read=("audio",))), driven, None, hints=(), droppable=())
    with pytest.raises(
        PartContractError, match=r"Constant\(stream='audio'.* in place of audio; present: video"
    ):
        ask(Asks(Pass("a", StepTimes(0.7), replace=mute)), JOINT, None, hints=(), droppable=())
    with pytest.raises(PartContractError, match="with the stream audio, which is absent"):
        ask(Asks(Pass("a", JOINT)), StepTimes(0.7), None, hints=(), droppable=())
    with pytest.raises(PartContractError, match="'latents'; that name is taken"):
        ask(Asks(Pass("latents", JOINT)), JOINT, None, hints=(), droppable=())


@attrs.frozen
class Asks:
    """For one pass."""

    asked: Pass

    def passes(self, times: StepTimes, state: Any) -> list[Pass]:
        return [self.asked]

    def combine(
        self, preds: Mapping[str, AV[Tensor]], times: StepTimes, state: Any
    ) -> tuple[AV[Tensor], Any]:
        return preds[self.asked.name], state


@attrs.frozen
class Chained:
    """Three passes, one after the other; the last needs `last`. A fourth is the second, and waits
    for nothing.
    """

    last: str = "second"

    def passes(self, times: StepTimes, state: Any) -> list[Pass]:
        return [
            Pass("early", times, drop=("caption",)),
            Pass("third", times, drop=("sound",), needs=(CONDITIONAL, self.last)),
            Pass("second", times, drop=("caption",), needs=(CONDITIONAL,)),
            conditional(times),
        ]

    def combine(
        self, preds: Mapping[str, AV[Tensor]], times: StepTimes, state: Any
    ) -> tuple[AV[Tensor], Any]:
        return preds["third"], state


def test_passes_in_a_sum_wait_for_their_own() -> None:
    """And for no other term's."""
    found = order(ask(Sum((CFG(), Chained())), JOINT, None, hints=(), droppable=KNOWN), CFG())
    assert [(run.names, run.level) for run in found] == [
        ((CONDITIONAL,), 0),
        (("0.dropped",), 0),
        (("1.early", "1.second"), 1),
        (("1.third",), 2),
    ]
    alone = order(ask(Chained(), JOINT, None, hints=(), droppable=KNOWN), CFG())
    assert [(run.names, run.level) for run in alone] == [
        ((CONDITIONAL,), 0),
        (("early", "second"), 1),
        (("third",), 2),
    ]
    with pytest.raises(PartContractError, match="which needs unknown 'dropped'"):
        ask(Sum((CFG(), Chained("dropped"))), JOINT, None, hints=(), droppable=KNOWN)


@attrs.frozen
class Momentum:
    """CFG whose difference remembers the last step's."""

    def passes(self, times: StepTimes, state: Any) -> list[Pass]:
        return [conditional(times), Pass("other", times, drop=("caption",), read=times.generated())]

    def combine(
        self, preds: Mapping[str, AV[Tensor]], times: StepTimes, state: Any
    ) -> tuple[AV[Tensor], Any]:
        own = preds[CONDITIONAL].only(times.generated())
        push = own.map(lambda a, b: a - b, preds["other"])
        if state is not None:
            push = push.map(lambda now, before: now + 0.5 * before, state)
        return own.map(torch.add, push), push


def test_sums_keep_each_term_s_state() -> None:
    check_guidance(Momentum())
    check_guidance(Sum((CFG(), Momentum())))
    alone, summed, before, all_before = Momentum(), Sum((NoGuidance(), Momentum())), None, None
    for step in range(3):
        preds = predict(summed, JOINT, step)
        one, before = alone.combine(
            {"joint": preds["joint"], "other": preds["1.other"]}, JOINT, before
        )
        two, all_before = summed.combine(preds, JOINT, all_before)
        assert same(one, two)


def test_defaults_are_those_of_their_sources() -> None:
    """Ovi's for the text and for the skipped layer, LTX-2's, and Lin et al.'s share; what is
    written as a list or a whole number is the same.
    """
    words = ("caption", "sound", "speech")
    for default, written in (
        (CFG(), CFG(4.0, 3.0, drop=words)),
        (SyncCFG(), SyncCFG(3.0, 2.0, drop=())),
        (Modality(), Modality(3.0, 3.0)),
        (SkipLayer(), SkipLayer(11, 4.0, 3.0, words)),
        (Rescale(), Rescale(CFG(), 0.7)),
        (Window(), Window(CFG(), 0.22, 0.84)),
        (Schedule(), Schedule(CFG(), (0.0, 2.0))),
        (CFG(2.0, 1.0, ("sound",)), CFG(2, 1, ["sound"])),  # type: ignore[arg-type]
        (SyncCFG(drop=("sound",)), SyncCFG(drop=["sound"])),  # type: ignore[arg-type]
        (SkipLayer(drop=()), SkipLayer(drop=[])),  # type: ignore[arg-type]
        (Schedule(CFG(), (1.0, 0.0)), Schedule(CFG(), [1, 0])),  # type: ignore[arg-type]
        (Sum((CFG(),)), Sum([CFG()])),  # type: ignore[arg-type]
    ):
        assert default == written
        assert repr(default) == repr(written)


def test_settings() -> None:
    assert (SyncCFG().video, SyncCFG().audio) == (3.0, 2.0)
    assert SyncCFG() == SyncCFG(mute=MuteAudio(), static=StaticVideo())
    assert SyncCFG(3, 2) == SyncCFG()
    assert hash(SyncCFG(3, 2)) == hash(SyncCFG())
    with pytest.raises(ValueError, match="mute must be an anchor for the audio stream"):
        SyncCFG(mute=StaticVideo())
    with pytest.raises(ValueError, match="static must be an anchor for the video stream"):
        SyncCFG(static=MuteAudio())
    hints = typing.get_type_hints(SyncCFG)
    assert (hints["mute"], hints["static"]) == (Anchor, Anchor)
    assert typing.get_type_hints(Sum)["terms"] == tuple[Guidance, ...]


def test_checks_catch_faults() -> None:
    @attrs.frozen
    class NeverOff(CFG):
        def passes(self, times: StepTimes, state: Any) -> list[Pass]:
            return [
                conditional(times),
                Pass("dropped", times, drop=self.drop, read=times.generated()),
            ]

    @attrs.frozen
    class MeanOfBatch(NoGuidance):
        def combine(self, preds, times, state):
            return preds["joint"].map(lambda v: v - v.mean()), state

    @attrs.frozen
    class TooEarly(NoGuidance):
        def passes(self, times: StepTimes, state: Any) -> list[Pass]:
            replaced = {s: Estimate(s) for s in times.present() if s not in times.generated()[:1]}
            return [
                conditional(times),
                Pass("anchored", times, replace=replaced, read=times.generated()[:1]),
            ]

    class NotAValue(NoGuidance):
        def __deepcopy__(self, memo: object) -> NotAValue:
            return CFG()  # type: ignore[return-value]

    for guidance, about in (
        (NeverOff(), "alone when it is off"),
        (MeanOfBatch(), "guide each sample by itself"),
        (TooEarly(), "need the task's own pass"),
        (NotAValue(), "compared by value"),
    ):
        with pytest.raises(PartContractError, match=about):
            check_guidance(guidance)


@attrs.frozen
class Inertia:
    """v = u + m u', of an inner guidance's velocity u and its last one, u'."""

    inner: Guidance
    momentum: float = knob(0.5, help="share of the last velocity", off=0.0)

    def passes(self, times: StepTimes, state: Any) -> Any:
        return self.inner.passes(times, None)

    def combine(
        self, preds: Mapping[str, AV[Tensor]], times: StepTimes, state: Any
    ) -> tuple[AV[Tensor], Any]:
        now, _ = self.inner.combine(preds, times, None)
        return (
            now
            if state is None or not self.momentum
            else now.map(lambda u, last: u + self.momentum * last, state)
        ), now


@attrs.frozen
class Sticky(Inertia):
    """Doesn't let go when it is off, from the second step on."""

    def combine(
        self, preds: Mapping[str, AV[Tensor]], times: StepTimes, state: Any
    ) -> tuple[AV[Tensor], Any]:
        now, _ = self.inner.combine(preds, times, None)
        return now if state is None else now.map(lambda u, last: u + 0.1 * last, state), now


@attrs.frozen
class Rescaled:
    """CFG brought back to the size of the conditional prediction (Lin et al., arXiv:2305.08891),
    also where only that is asked for.
    """

    inner: Guidance
    share: float = knob(0.7, help="how much of it", off=0.0)

    def passes(self, times: StepTimes, state: Any) -> Any:
        return self.inner.passes(times, state)

    def combine(
        self, preds: Mapping[str, AV[Tensor]], times: StepTimes, state: Any
    ) -> tuple[AV[Tensor], Any]:
        guided, state = self.inner.combine(preds, times, state)

        def size(v: Tensor) -> Tensor:
            return v.flatten(1).std(1).view(-1, *(1,) * (v.ndim - 1))

        def back(v: Tensor, own: Tensor) -> Tensor:
            return v * (1 - self.share) + v / size(v) * size(own) * self.share

        return guided.map(back, preds[CONDITIONAL]) if self.share else guided, state


@pytest.mark.parametrize("inner", [NoGuidance(), CFG(), SyncCFG()], ids=repr)
@pytest.mark.parametrize("kind", [Inertia, Rescaled])
def test_a_guidance_may_change_the_only_prediction_unless_it_is_off(
    kind: Any, inner: Guidance
) -> None:
    """The protocol promises that prediction bit for bit at the off value, and nowhere else."""
    check_guidance(kind(inner))


def test_off_is_off_at_every_step() -> None:
    with pytest.raises(PartContractError, match="bit for bit when it is off"):
        check_guidance(Sticky(NoGuidance()))


def test_conditions_of_others_may_be_dropped() -> None:
    """A guidance may be about a condition that a third party's encoder makes."""
    check_guidance(CFG(drop=("strikes",)))


@attrs.frozen
class Answering(NoGuidance):
    """Answers with something else."""

    asked: Any = None
    made: Any = None

    def passes(self, times: StepTimes, state: Any) -> Any:
        return super().passes(times, state) if self.asked is None else self.asked(times)

    def combine(self, preds: Mapping[str, AV[Tensor]], times: StepTimes, state: Any) -> Any:
        answer = super().combine(preds, times, state)
        return answer if self.made is None else self.made(answer[0])


@pytest.mark.parametrize(
    ("guidance", "says"),
    [
        (Answering(asked=lambda times: 3), "returned 3 as its passes; it should return a list"),
        (Answering(asked=conditional), r"returned Pass\(.*it should return a list"),
        (Answering(asked=lambda times: ["joint"]), "returned \\['joint'\\] as its passes"),
        (Answering(made=lambda v: v), "returned AV; it should be .*return v, state"),
        (
            Answering(made=lambda v: (dict(zip(v, v, strict=True)), None)),
            r"returned \(dict, NoneType\); it should be",
        ),
    ],
)
def test_answers_of_another_form_are_named(guidance: Guidance, says: str) -> None:
    """By the check, and by the sampler, whose traceback would be about something else."""
    with pytest.raises(PartContractError, match=says):
        check_guidance(guidance)
    with pytest.raises(PartContractError, match=says):
        make(gaussian(), latents(), caption(), guidance=guidance)


def test_a_guidance_may_reckon_in_float64() -> None:
    @attrs.frozen
    class Wide(NoGuidance):
        def combine(self, preds: Mapping[str, AV[Tensor]], times: StepTimes, state: Any) -> Any:
            return preds[CONDITIONAL].only(times.generated()).map(torch.Tensor.double), state

    check_guidance(Wide())


@pytest.mark.parametrize("field", ["drop", "hints", "read", "needs"])
def test_a_name_is_no_collection_of_names(field: str) -> None:
    """`drop="caption"` would drop the conditions c, a, p, t, i, o and n."""
    with pytest.raises(ValueError, match=r"collections of names: write \['audio'\] instead of 'audio'"):
        Pass("one", StepTimes(1.0, 1.0), **{field: "audio"})
