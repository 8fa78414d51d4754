"""Passes that go through the denoiser in one batch."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import torch
from helpers.toy_guidance import (
    SYNC,
    caption,
    flat,
    gaussian,
    latents,
    make,
)
from torch import Tensor

from harmony_parts.av import AV
from harmony_parts.guidance.cfg import CFG
from harmony_parts.guidance.modality import Modality
from harmony_parts.guidance.protocol import (
    Guidance,
    Pass,
    StepTimes,
    conditional,
)
from harmony_parts.guidance.skip_layer import SkipLayer
from harmony_parts.guidance.sum import Sum
from harmony_parts.tasks.protocol import TASKS
from harmony_parts.testing.gaussian_denoiser import Recorded


@pytest.mark.parametrize(
    "guidance",
    [Sum((CFG(3, 2), SYNC)), SYNC, Sum((CFG(3, 2), Modality(), SkipLayer(layer=1)))],
    ids=repr,
)
@pytest.mark.parametrize("task", TASKS)
def test_batched_passes_equal_separate_passes(guidance: Guidance, task: str) -> None:
    """Except for the rounding of sums in another order."""
    both, given = latents(3), latents(3).only(TASKS[task])
    noise, conditions = both.only({"video", "audio"} - set(given)), caption(3)
    calls, results = [], []
    for together in (0, 10**6):
        model = Recorded(gaussian(hints=("isolate", "skip-1")))
        results.append(
            flat(make(model, noise, conditions, given=given, guidance=guidance, together=together))
        )
        calls.append(len(model.calls))
        assert not any(set(call.read) & set(given) for call in model.calls)
    assert torch.allclose(*results, rtol=1e-10, atol=1e-10)
    assert calls[1] < calls[0] or guidance == SYNC


@attrs.frozen
class ManyPasses:
    """Passes of one and of both streams, with and without a hint, which read different streams."""

    def passes(self, times: StepTimes, state: Any) -> list[Pass]:
        video_only = StepTimes(times.video)
        return [
            conditional(times),
            Pass("apart", times, hints=("isolate",), read=("video",)),
            Pass("dropped", times, drop=("caption",)),
            Pass("video only", video_only, read=("video",)),
            Pass("apart, dropped", times, drop=("caption",), hints=("isolate",), read=("audio",)),
            Pass("video only, dropped", video_only, drop=("caption",), read=("video",)),
        ]

    def combine(self, preds: Any, times: StepTimes, state: Any) -> tuple[AV[Tensor], Any]:
        names = [each.name for each in self.passes(times, state)]
        return (
            AV(
                **{
                    s: (
                        sum(
                            k * preds[name][s]
                            for k, name in enumerate(names, 1)
                            if s in preds[name]
                        )
                        / 21
                    )
                    for s in times.generated()
                }
            ),
            state,
        )


def test_passes_with_equal_streams_and_hints_are_batched() -> None:
    """Each pass gets its own streams, and its result is that of a separate call."""
    calls, results = [], []
    for together in (0, 10**6):
        model = Recorded(gaussian(hints=("isolate",)))
        results.append(
            flat(make(model, latents(3), caption(3), guidance=ManyPasses(), together=together))
        )
        step = model.calls[: 6 if together == 0 else 3]
        calls.append(
            sorted(
                (tuple(call.hints), tuple(call.av), call.read, len(call.av["video"]))
                for call in step
            )
        )
    both, video, apart = ("video", "audio"), ("video",), ("isolate",)
    assert calls[0] == sorted(
        [((), both, both, 3)] * 2
        + [(apart, both, video, 3), (apart, both, ("audio",), 3)]
        + [((), video, video, 3)] * 2
    )
    assert calls[1] == sorted([((), both, both, 6), (apart, both, both, 6), ((), video, video, 6)])
    assert torch.allclose(*results, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("together", "sizes"),
    [(0, [3, 3, 3, 3]), (29, [3, 3, 3, 3]), (30, [6, 3, 3]), (45, [9, 3]), (10**6, [9, 3])],
)
def test_batches_hold_at_most_the_given_number_of_latents(together: int, sizes: list[int]) -> None:
    """3 samples of 2 + 3 latents. Only the static video needs another pass."""
    model = Recorded(gaussian())
    make(model, latents(3), caption(3), guidance=Sum((CFG(3, 2), SYNC)), steps=1, together=together)
    assert [len(call.av["video"]) for call in model.calls] == sizes


def test_a_batch_of_passes_has_one_cache() -> None:
    model = Recorded(gaussian())
    make(model, latents(), caption(), guidance=CFG(), steps=3, together=10**6)
    assert (
        len({id(call.cache) for call in model.calls})
        == len({id(call.conditions["caption"]) for call in model.calls})
        == 1
    )
