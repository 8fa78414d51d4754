"""The contract checks of guidance: what they accept, and the faults that they find."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import pytest
import torch
from helpers.guidance_predictions import (
    OFF,
    guidances,
)
from helpers.toy_guidance import Estimate, caption, gaussian, latents, make
from hypothesis import given
from torch import Tensor

from harmony_parts.av import AV
from harmony_parts.errors import PartContractError
from harmony_parts.guidance.cfg import CFG
from harmony_parts.guidance.none import NoGuidance
from harmony_parts.guidance.protocol import CONDITIONAL, Guidance, Pass, StepTimes, conditional
from harmony_parts.guidance.sum import Sum
from harmony_parts.guidance.sync_cfg import SyncCFG
from harmony_parts.plugin import knob
from harmony_parts.testing.contracts.guidance import check_guidance


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
def test_contract_of_random_guidances(guidance: Guidance) -> None:
    check_guidance(guidance)


def test_faults_are_found() -> None:
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
        (NeverOff(), "only conditional\\(times\\) at its off values"),
        (MeanOfBatch(), "guide samples independently"),
        (TooEarly(), "need the conditional pass"),
        (NotAValue(), "compared by value"),
    ):
        with pytest.raises(PartContractError, match=about):
            check_guidance(guidance)


@attrs.frozen
class Inertia:
    """v = u + m u' for the inner guidance's velocity u and its previous velocity u'."""

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
    """Still changes the velocity at its off values, from the second step on."""

    def combine(
        self, preds: Mapping[str, AV[Tensor]], times: StepTimes, state: Any
    ) -> tuple[AV[Tensor], Any]:
        now, _ = self.inner.combine(preds, times, None)
        return now if state is None else now.map(lambda u, last: u + 0.1 * last, state), now


@attrs.frozen
class Rescaled:
    """Rescaled guidance (Lin et al., arXiv:2305.08891) that also rescales a single prediction."""

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
    """Only off values must return the conditional prediction bit for bit."""
    check_guidance(kind(inner))


def test_off_values_are_checked_at_every_step() -> None:
    with pytest.raises(PartContractError, match="bit for bit at its off values"):
        check_guidance(Sticky(NoGuidance()))


def test_conditions_of_third_parties_may_be_dropped() -> None:
    """A guidance may drop a condition that a third party's encoder produces."""
    check_guidance(CFG(drop=("strikes",)))


@attrs.frozen
class Answering(NoGuidance):
    """A guidance with other return values."""

    requested: Any = None
    result: Any = None

    def passes(self, times: StepTimes, state: Any) -> Any:
        return super().passes(times, state) if self.requested is None else self.requested(times)

    def combine(self, preds: Mapping[str, AV[Tensor]], times: StepTimes, state: Any) -> Any:
        answer = super().combine(preds, times, state)
        return answer if self.result is None else self.result(answer[0])


@pytest.mark.parametrize(
    ("guidance", "message"),
    [
        (Answering(requested=lambda times: 3), "returned 3 from passes; return a list"),
        (Answering(requested=conditional), r"returned Pass\(.*return a list"),
        (Answering(requested=lambda times: ["joint"]), "returned \\['joint'\\] from passes"),
        (Answering(result=lambda v: v), "returned AV; it should return .*return v, state"),
        (
            Answering(result=lambda v: (dict(zip(v, v, strict=True)), None)),
            r"returned \(dict, NoneType\); it should return",
        ),
    ],
)
def test_wrong_return_types_are_named(guidance: Guidance, message: str) -> None:
    """Without the check the sampler's traceback would be about something else."""
    with pytest.raises(PartContractError, match=message):
        check_guidance(guidance)
    with pytest.raises(PartContractError, match=message):
        make(gaussian(), latents(), caption(), guidance=guidance)


def test_a_guidance_may_compute_in_float64() -> None:
    @attrs.frozen
    class Wide(NoGuidance):
        def combine(self, preds: Mapping[str, AV[Tensor]], times: StepTimes, state: Any) -> Any:
            return preds[CONDITIONAL].only(times.generated()).map(torch.Tensor.double), state

    check_guidance(Wide())
