"""The sum of guidances: its terms, their passes and their states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import pytest
import torch
from helpers.guidance_predictions import (
    JOINT,
    KNOWN,
    OFF,
    SEED,
    TASKS,
    guidances,
    near,
    predict,
    same,
)
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from harmony_parts.av import AV
from harmony_parts.errors import PartContractError
from harmony_parts.guidance.cfg import CFG
from harmony_parts.guidance.none import NoGuidance
from harmony_parts.guidance.protocol import CONDITIONAL, Guidance, Pass, StepTimes, conditional
from harmony_parts.guidance.sum import Sum
from harmony_parts.guidance.sync_cfg import SyncCFG
from harmony_parts.sample.pass_graph import DenoiserRun, checked_passes, order
from harmony_parts.testing.contracts.guidance import check_guidance


@given(guidances(0), TASKS, SEED, st.lists(st.sampled_from(OFF), max_size=3), st.integers(0, 3))
def test_a_sum_with_one_active_term_equals_that_term(
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


def test_a_stream_changed_by_one_term_gets_its_result_bit_for_bit() -> None:
    """CFG guides only the video here, and SyncCFG only the audio."""
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


def runs(guidance: Guidance) -> list[DenoiserRun]:
    """The runs of a joint step."""
    passes = checked_passes(guidance, JOINT, None, hints=(), droppable=KNOWN)
    return order(passes, guidance)


@attrs.frozen
class Chained:
    """Three passes in a chain, of which the last needs `last`, and one equal to the second that
    needs none.
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


def test_passes_in_a_sum_need_passes_of_the_same_term() -> None:
    """They can't need a pass of another term."""
    requested = runs(Sum((CFG(), Chained())))
    assert [(run.names, run.level) for run in requested] == [
        ((CONDITIONAL,), 0),
        (("0.dropped",), 0),
        (("1.early", "1.second"), 1),
        (("1.third",), 2),
    ]
    single = runs(Chained())
    assert [(run.names, run.level) for run in single] == [
        ((CONDITIONAL,), 0),
        (("early", "second"), 1),
        (("third",), 2),
    ]
    with pytest.raises(PartContractError, match="which needs unknown 'dropped'"):
        runs(Sum((CFG(), Chained("dropped"))))


@attrs.frozen
class Momentum:
    """CFG that adds half of the previous step's difference."""

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


def test_a_sum_keeps_the_state_of_each_term() -> None:
    check_guidance(Momentum())
    check_guidance(Sum((CFG(), Momentum())))
    single, summed, before, all_before = Momentum(), Sum((NoGuidance(), Momentum())), None, None
    for step in range(3):
        preds = predict(summed, JOINT, step)
        one, before = single.combine(
            {"joint": preds["joint"], "other": preds["1.other"]}, JOINT, before
        )
        two, all_before = summed.combine(preds, JOINT, all_before)
        assert same(one, two)
