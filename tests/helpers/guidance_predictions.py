"""Random guidances, and random predictions for their passes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from harmony_parts.av import AV
from harmony_parts.guidance.cfg import CFG
from harmony_parts.guidance.none import NoGuidance
from harmony_parts.guidance.protocol import Guidance, StepTimes
from harmony_parts.guidance.sum import Sum
from harmony_parts.guidance.sync_cfg import SyncCFG
from harmony_parts.sample.pass_graph import checked_passes, order

SCALE = st.floats(0, 12)
SEED = st.integers(0, 999)
TASKS = st.sampled_from(
    [
        StepTimes(0.7, 0.7),
        StepTimes(0.9, 0.6),
        StepTimes(0.2, 0.7),
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
    """Random float64 predictions of each distinct pass, in the form that the sampler gives them."""
    random = torch.Generator().manual_seed(seed)
    answers = {}
    for run in order(checked_passes(guidance, times, None, hints=(), droppable=KNOWN), guidance):
        both = AV(
            torch.randn(n, 2, 2, 1, 2, dtype=torch.float64, generator=random),
            torch.randn(n, 5, 3, dtype=torch.float64, generator=random),
        )
        answers.update(dict.fromkeys(run.names, both.only(run.read)))
    return answers


def change(
    preds: Mapping[str, AV[Tensor]], how: Any, streams: tuple[str, ...] = ("video", "audio")
) -> dict[str, AV[Tensor]]:
    """`preds` with `how` applied to each velocity of `streams`."""
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
