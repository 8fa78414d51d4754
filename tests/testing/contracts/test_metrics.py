"""The contract check of metrics accepts the built-in ones and finds every way to break it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import numpy as np
import pytest
import torch

from harmony_parts.av import AV, STREAMS, Event
from harmony_parts.errors import PartContractError
from harmony_parts.media.clip import Clip
from harmony_parts.metrics.correlation import Correlation
from harmony_parts.metrics.events import Events
from harmony_parts.metrics.protocol import Reference
from harmony_parts.testing.contracts.metrics import check_metric

COUNT = itertools.count()


@pytest.mark.parametrize(
    "metric",
    [
        Events(),
        Events(tolerance=0.0, apart=0.0),
        Correlation(),
        Correlation(sound="level", reach=0.02),
    ],
    ids=repr,
)
def test_built_in_metrics_pass(metric: Any) -> None:
    check_metric(metric)


def test_clips_can_be_passed_and_must_give_a_number() -> None:
    still = Clip(torch.zeros(12, 8, 8, 3, dtype=torch.uint8), 12, torch.zeros(1, 8000), 8000)
    check_metric(Events(), clips=[still])
    with pytest.raises(PartContractError, match="give a number for at least one of the clips"):
        check_metric(Correlation(), clips=[still])


@attrs.frozen
class Broken:
    """`Events` with one method replaced; each function receives the correct result first."""

    analysed: Callable[..., Any] = lambda found, clip: found
    scored: Callable[..., Any] = lambda numbers, **given: numbers
    weighed: Callable[..., Any] = lambda weights, numbers: weights
    built: Callable[..., Any] = lambda metric: metric
    reads: Any = STREAMS

    def build(self, *, device: torch.device | str = "cpu") -> Any:
        return self.built(self)

    def analyse(self, clip: Clip) -> Any:
        return self.analysed(Events().analyse(clip), clip)

    def score(
        self,
        video: Any,
        audio: Any,
        truth: Sequence[Event] | None = None,
        reference: Reference | None = None,
    ) -> Any:
        numbers = Events().score(video, audio, truth)
        return self.scored(numbers, video=video, audio=audio, truth=truth, reference=reference)

    def weights(self, numbers: dict[str, float]) -> Any:
        return self.weighed(Events().weights(numbers), numbers)


class Other(Broken):
    """Equal to nothing but itself."""

    __eq__, __hash__ = object.__eq__, object.__hash__


def _darkens(found: AV[Any], clip: Clip) -> AV[Any]:
    if clip.frames is not None:
        clip.frames[0] = 0
    return found


def _borrows(found: AV[Any], clip: Clip) -> AV[Any]:
    """Without sound, no events in the picture either."""
    return found if clip.waveform is not None else found.map(lambda times: times[:0])


def _needs_samples(found: AV[Any], clip: Clip) -> AV[Any]:
    if clip.waveform is not None:
        clip.waveform.abs().max()
    return found


def adds(number: Any, name: Any = "more") -> Callable[..., Any]:
    """A score with one more number."""
    return lambda numbers, **given: numbers | {name: number}


@pytest.mark.parametrize(
    ("metric", "must"),
    [
        (Other(), "be compared by value and hashable"),
        (
            Broken(analysed=lambda found, clip: (found.video, found.audio)),
            "return an AV of the streams that a clip has and it reads, here video and audio",
        ),
        (
            Broken(
                analysed=lambda found, clip: (
                    found if clip.waveform is not None else found.replace(audio=0)
                )
            ),
            "return an AV of the streams that a clip has and it reads, here video$",
        ),
        (Broken(analysed=_darkens), "leave clips unchanged"),
        (Broken(analysed=_borrows), "analyse picture and sound each without the other"),
        (
            Broken(analysed=_needs_samples),
            ("accept a clip of sound without a sample, and leave out undefined numbers; it raised"),
        ),
        (
            Broken(scored=lambda numbers, **given: list(numbers)),
            "return a dict of named numbers",
        ),
        (
            Broken(scored=lambda numbers, **given: {}),
            "give a number for at least one of the clips",
        ),
        (Broken(scored=adds(0.0, 1)), "return a dict of named numbers"),
        (Broken(scored=adds(1)), "score with finite floats, .* it gave more = 1$"),
        (Broken(scored=adds(float("nan"))), "it gave more = nan"),
        (
            Broken(
                scored=lambda numbers, video, **given: (
                    numbers | {"mean": float(np.mean(video)) if len(video) else float("nan")}
                )
            ),
            r"it gave mean = nan \(a clip of a black picture\)",
        ),
        (
            Broken(scored=lambda numbers, **given: numbers | {"n": float(next(COUNT))}),
            "the same numbers",
        ),
        (
            Broken(scored=lambda numbers, **given: numbers | {"more": float(torch.rand(()) * 0)}),
            "from torch's global one",
        ),
        (
            Broken(
                scored=lambda numbers, truth, **given: numbers if truth is None else {"f1": 1.0}
            ),
            "give with a truth or a reference all numbers that it gives without",
        ),
        (
            Broken(
                scored=lambda numbers, reference, **given: (
                    numbers if reference is None else {"f1": 1.0}
                )
            ),
            "give with a truth or a reference all numbers that it gives without",
        ),
        (
            Broken(
                scored=lambda numbers, reference, **given: (
                    numbers | ({"words": float("nan")} if reference and reference.voice else {})
                )
            ),
            "it gave words = nan",
        ),
        (Broken(built=lambda metric: object()), "build a metric, with `analyse` and `score`"),
        (Broken(reads=()), r"declare in `reads` a tuple of streams, not \(\)"),
        (Broken(reads="audio"), "declare in `reads` a tuple of streams, not 'audio'"),
        (Broken(reads=("audio",)), "of the streams that a clip has and it reads, here audio$"),
        (
            Broken(weighed=lambda weights, numbers: weights | {"f1": -1.0}),
            "give weights that are finite and at least 0",
        ),
        (
            Broken(weighed=lambda weights, numbers: weights | {"f1": float("inf")}),
            "give weights that are finite and at least 0",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:Mean of empty slice")
def test_a_broken_metric_is_rejected(metric: Broken, must: str) -> None:
    with pytest.raises(PartContractError, match=must):
        check_metric(metric)


def test_the_wrapper_without_a_fault_passes() -> None:
    check_metric(Broken())


@attrs.frozen
class Loudness:
    """A metric that reads only the sound, and needs a reference for one of its numbers."""

    reads = ("audio",)

    def build(self, *, device: torch.device | str = "cpu") -> Loudness:
        return self

    def analyse(self, clip: Clip) -> AV[float]:
        if clip.waveform is None or not clip.waveform.numel():
            return AV(audio=None if clip.waveform is None else 0.0)
        return AV(audio=float(clip.mono().square().mean()))

    def score(
        self,
        video: None,
        audio: float,
        truth: Sequence[Event] | None = None,
        reference: Reference | None = None,
    ) -> dict[str, float]:
        assert video is None
        voice = reference and reference.voice
        level = {"level": audio}
        return level if voice is None else level | {"change": audio - self.analyse(voice)["audio"]}


def test_a_metric_of_one_stream_with_a_reference_passes() -> None:
    check_metric(Loudness())


@attrs.frozen
class Batched(Loudness):
    """It takes several clips at once; `off` is what a batch adds to each level."""

    batch: int = 2
    off: float = 0.0
    lost: int = 0
    why: Any = ""

    def analyse_batch(self, clips: Sequence[Clip]) -> list[AV[float]]:
        found = [self.analyse(clip).map(lambda level: level + self.off) for clip in clips]
        return found[self.lost :]

    def reason(self, video: None, audio: float, reference: Reference | None = None) -> Any:
        return self.why


def test_a_metric_of_batches_that_gives_reasons_passes() -> None:
    check_metric(Batched())


@pytest.mark.parametrize(
    ("metric", "must"),
    [
        (Batched(off=0.01), "the same numbers in a batch as alone"),
        (Batched(lost=1), "one analysis for each clip of a batch"),
        (Batched(batch=0), "take batches of at least 1, not 0"),
        (Batched(why=None), "give reasons as text, not None"),
    ],
)
def test_broken_batches_and_reasons_are_rejected(metric: Batched, must: str) -> None:
    with pytest.raises(PartContractError, match=must):
        check_metric(metric)
