"""The contract of metrics: what ships keeps it, and each of its points can be broken."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import numpy as np
import pytest
import torch

from harmony_parts.av import AV
from harmony_parts.data.protocol import Event
from harmony_parts.errors import PartContractError
from harmony_parts.media.clip import Clip
from harmony_parts.metrics.correlation import Correlation
from harmony_parts.metrics.events import Events
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
def test_metrics_keep_it(metric: Any) -> None:
    check_metric(metric)


def test_clips_of_ones_own_are_taken() -> None:
    """Ones that the metric has nothing to say of prove nothing."""
    still = Clip(torch.zeros(12, 8, 8, 3, dtype=torch.uint8), 12, torch.zeros(1, 8000), 8000)
    check_metric(Events(), clips=[still])
    with pytest.raises(PartContractError, match="have a number for one of the clips at least"):
        check_metric(Correlation(), clips=[still])


@attrs.frozen
class Broken:
    """`Events` with one method exchanged: each is handed the real answer first."""

    analysed: Callable[..., Any] = lambda found, clip: found
    scored: Callable[..., Any] = lambda numbers, video, audio, truth: numbers
    weighed: Callable[..., Any] = lambda weights, numbers: weights

    def analyse(self, clip: Clip) -> Any:
        """See the class."""
        return self.analysed(Events().analyse(clip), clip)

    def score(self, video: Any, audio: Any, truth: Sequence[Event] | None = None) -> Any:
        """See the class."""
        return self.scored(Events().score(video, audio, truth), video, audio, truth)

    def weights(self, numbers: dict[str, float]) -> Any:
        """See the class."""
        return self.weighed(Events().weights(numbers), numbers)


class Other(Broken):
    """Equal to nothing but itself."""

    __eq__, __hash__ = object.__eq__, object.__hash__


def _darkens(found: AV[Any], clip: Clip) -> AV[Any]:
    if clip.frames is not None:
        clip.frames[0] = 0
    return found


def _borrows(found: AV[Any], clip: Clip) -> AV[Any]:
    """Where there is no sound, it sees nothing."""
    return found if clip.waveform is not None else found.map(lambda times: times[:0])


def _needs_samples(found: AV[Any], clip: Clip) -> AV[Any]:
    if clip.waveform is not None:
        clip.waveform.abs().max()
    return found


def adds(number: Any, name: Any = "more") -> Callable[..., Any]:
    """One number more."""
    return lambda numbers, video, audio, truth: numbers | {name: number}


@pytest.mark.parametrize(
    ("metric", "must"),
    [
        (Other(), "be compared by value and hashable"),
        (
            Broken(analysed=lambda found, clip: (found.video, found.audio)),
            "return an AV of the streams that a clip has, here video and audio",
        ),
        (
            Broken(
                analysed=lambda found, clip: (
                    found if clip.waveform is not None else found.replace(audio=0)
                )
            ),
            "return an AV of the streams that a clip has, here video$",
        ),
        (Broken(analysed=_darkens), "leave clips as they are"),
        (Broken(analysed=_borrows), "look at picture and sound each without the other"),
        (
            Broken(analysed=_needs_samples),
            (
                "take a clip of sound without a sample, and leave out what has no meaning there; it"
                " raised"
            ),
        ),
        (
            Broken(scored=lambda numbers, video, audio, truth: list(numbers)),
            "return a dict of named numbers",
        ),
        (
            Broken(scored=lambda numbers, video, audio, truth: {}),
            "have a number for one of the clips at least",
        ),
        (Broken(scored=adds(0.0, 1)), "return a dict of named numbers"),
        (Broken(scored=adds(1)), "score with finite floats, .* it gave more = 1$"),
        (Broken(scored=adds(float("nan"))), "it gave more = nan"),
        (
            Broken(
                scored=lambda numbers, video, audio, truth: (
                    numbers | {"mean": float(np.mean(video)) if len(video) else float("nan")}
                )
            ),
            r"it gave mean = nan \(a clip of a black picture\)",
        ),
        (
            Broken(scored=lambda numbers, video, audio, truth: numbers | {"n": float(next(COUNT))}),
            "the same numbers",
        ),
        (
            Broken(
                scored=lambda numbers, video, audio, truth: (
                    numbers | {"more": float(torch.rand(()) * 0)}
                )
            ),
            "from torch's global one",
        ),
        (
            Broken(
                scored=lambda numbers, video, audio, truth: (
                    numbers if truth is None else {"f1": 1.0}
                )
            ),
            "that it gives without a truth",
        ),
        (
            Broken(weighed=lambda weights, numbers: weights | {"f1": -1.0}),
            "weigh its numbers with finite numbers of at least 0",
        ),
        (
            Broken(weighed=lambda weights, numbers: weights | {"f1": float("inf")}),
            "weigh its numbers with finite numbers of at least 0",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:Mean of empty slice")
def test_a_broken_one_is_found(metric: Broken, must: str) -> None:
    with pytest.raises(PartContractError, match=must):
        check_metric(metric)


def test_what_is_not_broken_passes() -> None:
    """The same wrapper without a fault."""
    check_metric(Broken())
