"""Every property of every built-in guidance, and the faults that properties find."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs
import pytest
import torch
from torch import Tensor

from harmony_parts.assembly.catalogue import Catalogue
from harmony_parts.av import AV
from harmony_parts.errors import PartContractError
from harmony_parts.guidance.cfg import CFG
from harmony_parts.guidance.data_space import DataSpace
from harmony_parts.guidance.modality import Modality
from harmony_parts.guidance.none import NoGuidance
from harmony_parts.guidance.protocol import Guidance, Pass, StepTimes
from harmony_parts.guidance.rescale import Rescale
from harmony_parts.guidance.scales import scale
from harmony_parts.guidance.schedule import Schedule
from harmony_parts.guidance.skip_layer import SkipLayer
from harmony_parts.guidance.sum import Sum
from harmony_parts.guidance.sync_cfg import SyncCFG
from harmony_parts.guidance.window import Window
from harmony_parts.testing.guidance_properties import (
    PROPERTIES,
    cases,
    check_exemptions,
    exemptions,
)
from harmony_parts.testing.guidance_properties.property import Property
from harmony_parts.testing.guidance_walks import some_walks

BUILT_IN = (
    NoGuidance(),
    CFG(),
    CFG(0.3, 1),
    SyncCFG(),
    SyncCFG(1, 2.5, drop=("caption",)),
    Modality(),
    Modality(2.5, 1),
    SkipLayer(layer=2, audio=1),
    SkipLayer(layer=0, drop=()),
    Rescale(Sum((CFG(), SyncCFG()))),
    Window(SyncCFG()),
    Schedule(CFG()),
    Schedule(SyncCFG(), factors=(0, 1, 0)),
    DataSpace(CFG()),
    DataSpace(Rescale(CFG())),
    Sum((CFG(), SyncCFG())),
    Sum((CFG(), SyncCFG(), Modality(), Window(SkipLayer(drop=())))),
)


@pytest.mark.parametrize(("guidance", "holds"), cases(*BUILT_IN))
def test_property(guidance: Guidance, holds: Property) -> None:
    holds(guidance)


def test_every_built_in_guidance_is_tested() -> None:
    catalogue = Catalogue.discover(only=())
    assert {catalogue.load_declared(each) for each in catalogue.list("guidance")} == {
        type(guidance) for guidance in BUILT_IN
    }


@pytest.mark.parametrize("guidance", [g for g in BUILT_IN if getattr(g, "exempt", None)], ids=repr)
def test_exempt_properties_fail(guidance: Guidance) -> None:
    check_exemptions(guidance)


def test_an_exemption_from_a_property_that_holds_is_refused() -> None:
    @attrs.frozen
    class Lazy(CFG):
        exempt: ClassVar[dict[str, str]] = {"affine": "never tried"}

    with pytest.raises(PartContractError, match="exempt from 'affine', which seems to hold"):
        check_exemptions(Lazy())


@attrs.frozen
class Broken:
    """v_dropped + s (v - v_dropped) with one fault, which the property `how` must find."""

    how: str
    video: float = scale(3.0, help="scale of the video")
    audio: float = scale(2.0, help="scale of the audio")
    memory: list[Any] = attrs.field(factory=list, eq=False, repr=False)

    def passes(self, times: StepTimes, state: Any) -> list[Pass]:
        passes = list(CFG(self.video, self.audio).passes(times, state))
        if self.how == "off" and len(passes) == 1:
            passes.append(Pass("dropped", times, drop=("caption",), read=times.generated()))
        if self.how == "used":
            passes.append(Pass("more", times, drop=("voice",), read=times.generated()))
        if self.how == "anchor":
            return list(SyncCFG(self.video, self.audio).passes(times, state))
        return passes

    def combine(self, preds: Any, times: StepTimes, state: Any) -> tuple[AV[Tensor], Any]:
        if self.how == "anchor":
            guided, _ = SyncCFG(self.video, self.audio).combine(preds, times, state)
            return guided.map(lambda v: v * 1.01), state
        plus = 0.1 if self.how == "zero" else 0.0
        guided, _ = CFG(self.video + plus, self.audio + plus).combine(preds, times, state)
        both = tuple(guided) == ("video", "audio")
        match self.how:
            case "fixed-point" | "space":
                guided = guided.map(lambda v: v + 0.01)
            case "affine":
                guided = guided.map(lambda v: v * v.abs())
            case "homogeneous":
                guided = guided.map(torch.tanh)
            case "batch":
                guided = guided.map(lambda v: v - v.mean())
            case "tokens":
                guided = guided.map(lambda v: v.cumsum(1))
            case "streams" if both:
                guided = guided.replace(video=guided["video"] + guided["audio"].mean())
            case "swap" if both:
                guided = guided.replace(audio=guided["audio"] * 1.1)
            case "beside-off" | "commute" | "window" | "replay":
                self.memory.append(None)
                guided = guided.map(lambda v: v * len(self.memory))
            case "interleaved":
                last = self.memory[-1] if state is not None else guided
                self.memory.append(guided)
                return guided.map(lambda v, before: v + before, last), "not the first step"
            case "bfloat16":
                guided = guided.map(
                    lambda v: (
                        v if v.dtype == torch.float64 else (v.bfloat16() * 1.1 / 1.1).to(v.dtype)
                    )
                )
            case "finite":
                guided = guided.map(lambda v: v / v.std())
        return guided, state


@pytest.mark.parametrize("name", PROPERTIES)
def test_each_property_finds_its_fault(name: str) -> None:
    check, walked = PROPERTIES[name].check, list(some_walks())
    assert all(check(Broken("nothing"), walk) for walk in walked)
    assert not all(check(Broken(name), walk) for walk in walked)


def test_predictions_do_not_fit_in_float32() -> None:
    """So float64 sums of them are rounded, and equality bit for bit is a strict test."""
    for walk in some_walks():
        v = walk.values(0, "any", "video")
        assert (v.float().double() != v).all()


def test_the_effect_of_the_other_stream_s_scale_is_found() -> None:
    @attrs.frozen
    class Mixed(CFG):
        def combine(self, preds: Any, times: StepTimes, state: Any) -> tuple[AV[Tensor], Any]:
            return CFG(self.video + (self.audio - 3) / 10, self.audio).combine(preds, times, state)

    for guidance in (Mixed(), Rescale(Mixed()), Sum((SyncCFG(), Mixed()))):
        assert not all(PROPERTIES["streams"].check(guidance, walk) for walk in some_walks())


def test_the_error_names_guidance_property_and_walk() -> None:
    with pytest.raises(
        PartContractError,
        match=(
            r"Broken.* must guide samples independently \(the property 'batch'\); it doesn't on"
            r" Walk"
        ),
    ):
        PROPERTIES["batch"](Broken("batch"))


def test_known_failures_are_strict() -> None:
    found = {
        case.id: case.marks
        for case in cases(Broken("tokens"), known_failures={"tokens": "it sums over time"})
    }
    marks = {name: mark.kwargs for name, all_marks in found.items() for mark in all_marks}
    assert [name.rpartition(": ")[2] for name in marks] == ["tokens"]
    assert all(
        kwargs["strict"] and kwargs["reason"] == "it sums over time" for kwargs in marks.values()
    )


def test_names_of_properties_are_checked() -> None:
    @attrs.frozen
    class Misspelt(NoGuidance):
        exempt: ClassVar[dict[str, str]] = {"afine": "no reason"}

    with pytest.raises(
        PartContractError,
        match=r"Misspelt.exempt names the unknown property 'afine' \(did you mean 'affine'\?\)",
    ):
        cases(Misspelt())
    with pytest.raises(
        PartContractError, match="known_failures names the unknown property 'tolkiens'"
    ):
        cases(CFG(), known_failures={"tolkiens": ""})


def test_exemptions_of_inner_guidances_apply() -> None:
    assert set(exemptions(Sum((CFG(), Window(Rescale(CFG())))))) == {"affine", "space"}
    assert exemptions(Sum((CFG(), SyncCFG()))) == {}
