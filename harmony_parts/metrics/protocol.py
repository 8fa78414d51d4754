"""A metric analyses each stream by itself, then scores a pair of analyses.

So the same outputs can be re-paired, which shows what score chance gives.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Protocol, runtime_checkable

import attrs
import torch
from torch import Tensor

from harmony_parts.av import AV, STREAMS, Event
from harmony_parts.media.clip import Clip


@attrs.frozen(eq=False)
class Reference:
    """What a clip should contain, beside its events: `transcript` (the words that are spoken),
    `voice` (a clip of the speaker's sound) and `image` uint8 [H, W, 3]; and `name`, that of the
    clip's file, by which scores that were made elsewhere are found. Absent fields are `None`.
    """

    transcript: str | None = None
    voice: Clip | None = None
    image: Tensor | None = None
    name: str | None = None


@runtime_checkable
class Metric(Protocol):
    """Scores clips, for example how well sound and picture agree.

    It may implement `ReadsStreams`, `WeighsNumbers`, `GivesReasons` and `AnalysesBatches` too.
    """

    def analyse(self, clip: Clip) -> AV[Any]:
        """Features of the picture and of the sound, each computed without the other.

        The result has the streams that the clip has and the metric reads. Any clip is accepted:
        silent, black, of one frame, without a sample, with several channels of sound (of which the
        built-in metrics analyse the mean). It isn't changed.
        """

    def score(
        self,
        video: Any,
        audio: Any,
        truth: Sequence[Event] | None = None,
        reference: Reference | None = None,
    ) -> dict[str, float]:
        """Named numbers for the features of a picture and of a sound, maybe of different clips.

        A stream that the metric doesn't read is `None`. A number that is undefined is left out.
        `truth` (the events of the clip) and `reference` may add numbers and change none:
        re-paired clips have neither.
        """


@runtime_checkable
class ReadsStreams(Protocol):
    """A metric that declares the streams it reads, such as `("audio",)`; others read both."""

    reads: tuple[str, ...]


@runtime_checkable
class WeighsNumbers(Protocol):
    """A metric whose numbers have weights in a mean over clips; those of others have weight 1."""

    def weights(self, numbers: dict[str, float]) -> dict[str, float]:
        """Name -> weight, such as the number of events that a share was taken over.

        So shares are pooled over events. A number that isn't in the result has weight 1.
        """


@runtime_checkable
class GivesReasons(Protocol):
    """A metric that says why it can't tell."""

    def reason(self, video: Any, audio: Any, reference: Reference | None = None) -> str:
        """Why `score` leaves numbers out, in words such as "no face was found"; "" if it doesn't.

        The arguments are those of `score`.
        """


@runtime_checkable
class AnalysesBatches(Protocol):
    """A metric whose network takes several clips at once: `batch` of them at most."""

    batch: int

    def analyse_batch(self, clips: Sequence[Clip]) -> list[AV[Any]]:
        """`analyse` of each clip, up to rounding."""


class MetricSpec(Protocol):
    """Settings of a metric."""

    def build(self, *, device: torch.device | str = "cpu") -> Metric:
        """The metric, its network (if any) on `device`. A metric without one may return itself."""


def streams_read(metric: Metric) -> tuple[str, ...]:
    """The streams that the metric reads: both, unless it declares `reads`."""
    return metric.reads if isinstance(metric, ReadsStreams) else STREAMS


def analyse_all(metric: Metric, clips: Iterable[Clip]) -> Iterator[AV[Any]]:
    """`metric.analyse` of each clip, in its batches: no more clips than a batch are in memory."""
    if not isinstance(metric, AnalysesBatches):
        yield from map(metric.analyse, clips)
        return
    waiting = iter(clips)
    while batch := list(islice(waiting, metric.batch)):
        yield from metric.analyse_batch(batch)


def reason(metric: Metric, found: AV[Any], reference: Reference | None = None) -> str:
    """Why the metric leaves numbers of a clip out; "" if it doesn't, or doesn't say."""
    if not isinstance(metric, GivesReasons):
        return ""
    return metric.reason(found.video, found.audio, reference)
