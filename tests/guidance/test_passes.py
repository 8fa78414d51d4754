"""The passes that guidances request, and which of them are equal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import pytest
from helpers.guidance_predictions import (
    JOINT,
    KNOWN,
)
from helpers.toy_guidance import Constant
from torch import Tensor

from harmony_parts.anchors.mute import MuteAudio
from harmony_parts.anchors.static import StaticVideo
from harmony_parts.av import AV
from harmony_parts.errors import PartContractError
from harmony_parts.guidance.cfg import CFG
from harmony_parts.guidance.protocol import CONDITIONAL, Guidance, Pass, StepTimes, conditional
from harmony_parts.guidance.sum import Sum
from harmony_parts.guidance.sync_cfg import SyncCFG
from harmony_parts.sample.pass_graph import DenoiserRun, checked_passes, noisy, order


def order_of(
    guidance: Guidance, times: StepTimes, droppable: tuple[str, ...] = ()
) -> list[DenoiserRun]:
    """The runs of a denoiser without hints."""
    passes = checked_passes(guidance, times, None, hints=(), droppable=droppable)
    return order(passes, guidance)


def runs(
    guidance: Guidance, times: StepTimes = JOINT, droppable: tuple[str, ...] = KNOWN
) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Names and read streams of each run."""
    return [
        (run.names, run.read)
        for run in order(
            checked_passes(guidance, times, None, hints=(), droppable=droppable), guidance
        )
    ]


def test_equal_passes_run_once() -> None:
    both = ("video", "audio")
    assert runs(Sum((CFG(3, 1), CFG(1, 2), CFG(5, 5)))) == [
        ((CONDITIONAL,), both),
        (("0.dropped", "1.dropped", "2.dropped"), both),
    ]
    assert runs(CFG(3, 1)) == [((CONDITIONAL,), both), (("dropped",), ("video",))]
    assert len(runs(Sum((CFG(), SyncCFG())))) == 4
    assert len(runs(Sum((CFG(drop=("caption",)), CFG(drop=("caption", "sound")))))) == 3
    # Names of absent conditions are ignored, so these two passes are equal. Without any condition
    # to drop, the negative pass equals the conditional one.
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


def test_passes_are_equal_if_the_denoiser_gets_the_same_input() -> None:
    """Names, `read`, `needs` and the order of anchors and conditions don't matter."""
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
    """Given streams are neither read nor guided. Only the static video needs another pass."""
    video, audio = ("video",), ("audio",)
    assert runs(SyncCFG(), StepTimes(0.5, 0.0)) == [((CONDITIONAL,), video), (("mute",), video)]
    assert runs(SyncCFG(), StepTimes(0.0, 0.5)) == [((CONDITIONAL,), audio), (("static",), audio)]
    assert runs(SyncCFG(), StepTimes(0.5, None)) == [((CONDITIONAL,), video)]
    passes = {each.name: each for each in SyncCFG().passes(JOINT, None)}
    assert passes["mute"].replace == (("audio", MuteAudio()),)
    assert passes["static"].replace == (("video", StaticVideo()),)
    assert (passes["mute"].needs, passes["static"].needs) == ((), (CONDITIONAL,))


def test_only_noisy_streams_can_be_read() -> None:
    """Neither given streams nor anchors have a velocity, even if the pass lists them in `read`."""
    driven, mute = StepTimes(0.7, 0.0), {"audio": Constant("audio")}
    assert noisy(Pass("a", driven)) == ("video",)
    assert noisy(Pass("a", JOINT)) == ("video", "audio")
    assert noisy(Pass("a", JOINT, replace=mute)) == ("video",)
    (run,) = order([Pass("a", driven)], CFG())
    assert run.read == ("video",)
    with pytest.raises(PartContractError, match="reads audio; it predicts video"):
        order_of(OnePass(Pass("a", driven, read=("audio",))), driven)
    with pytest.raises(
        PartContractError,
        match=r"Constant\(stream='audio'.* in place of audio; present streams: video",
    ):
        order_of(OnePass(Pass("a", StepTimes(0.7), replace=mute)), JOINT)
    with pytest.raises(PartContractError, match="with the stream audio, which is absent"):
        order_of(OnePass(Pass("a", JOINT)), StepTimes(0.7))
    with pytest.raises(PartContractError, match="'latents', a name that is reserved"):
        order_of(OnePass(Pass("latents", JOINT)), JOINT)


@attrs.frozen
class OnePass:
    """A guidance that requests one given pass."""

    requested: Pass

    def passes(self, times: StepTimes, state: Any) -> list[Pass]:
        return [self.requested]

    def combine(
        self, preds: Mapping[str, AV[Tensor]], times: StepTimes, state: Any
    ) -> tuple[AV[Tensor], Any]:
        return preds[self.requested.name], state


@pytest.mark.parametrize("field", ["drop", "hints", "read", "needs"])
def test_a_string_is_refused_as_a_collection_of_names(field: str) -> None:
    """`drop="caption"` would drop the conditions c, a, p, t, i, o and n."""
    with pytest.raises(
        ValueError, match=r"collections of names: write \['audio'\] instead of 'audio'"
    ):
        Pass("one", StepTimes(1.0, 1.0), **{field: "audio"})
