"""A metric analyses each stream by itself, then scores a pair of analyses.

So the same outputs can be re-paired, which shows what score chance gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import attrs
import torch
from torch import Tensor

from harmony_parts.av import AV, STREAMS, Event
from harmony_parts.media.clip import Clip


@attrs.frozen(eq=False)
class Reference:
    """What a clip should contain, beside its events: `transcript` (the words that are spoken),
    `voice` (a clip of the speaker's sound) and `image` uint8 [H, W, 3]. Absent fields are `None`.
    """

    transcript: str | None = None
    voice: Clip | None = None
    image: Tensor | None = None


@runtime_checkable
class Metric(Protocol):
    """Scores clips, for example how well sound and picture agree.

    It may implement `ReadsStreams` and `WeighsNumbers` too.
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


class MetricSpec(Protocol):
    """Settings of a metric."""

    def build(self, *, device: torch.device | str = "cpu") -> Metric:
        """The metric, its network (if any) on `device`. A metric without one may return itself."""


def streams_read(metric: Metric) -> tuple[str, ...]:
    """The streams that the metric reads: both, unless it declares `reads`."""
    return metric.reads if isinstance(metric, ReadsStreams) else STREAMS
