"""Any metric as a filter."""

from __future__ import annotations

import math
from typing import Any

import attrs
import torch

from harmony_parts.av import AV
from harmony_parts.data.protocol import Example
from harmony_parts.errors import nearest
from harmony_parts.metrics.protocol import Metric, MetricSpec, streams_read
from harmony_parts.plugin import default_part, knob


@attrs.frozen
class MetricRange:
    """Drops clips whose number `name` of a metric is below `lowest` or above `highest`.

    A clip for which the metric gives no such number is dropped too, unless `undefined` keeps it.
    """

    metric: MetricSpec = knob(
        default_part("harmony_parts.metrics.correlation:Correlation"), help="the metric"
    )
    name: str = knob("correlation", help="which of its numbers")
    lowest: float = knob(-math.inf, help="lowest value that is kept", off=-math.inf)
    highest: float = knob(math.inf, help="highest value that is kept", off=math.inf)
    undefined: bool = knob(False, help="keep clips without such a number")

    def build(self, *, device: torch.device | str = "cpu") -> MetricFilter:
        """The filter, with the metric on `device`."""
        return MetricFilter(self, self.metric.build(device=device))


@attrs.frozen(eq=False)
class MetricFilter:
    """The filter of `MetricRange`."""

    spec: MetricRange
    metric: Metric

    @property
    def reads(self) -> tuple[str, ...]:
        """The streams that the metric reads."""
        return streams_read(self.metric)

    def analyse(self, example: Example) -> AV[Any]:
        """The metric's features."""
        return self.metric.analyse(example.clip)

    def fault(self, video: Any, audio: Any) -> str | None:
        """Outside the range, or undefined."""
        spec = self.spec
        present = {"video": video, "audio": audio}
        lacking = any(present[stream] is None for stream in self.reads)
        numbers = {} if lacking else self.metric.score(video, audio)
        value = numbers.get(spec.name)
        if value is None:
            return None if spec.undefined else f"has no {spec.name}{nearest(spec.name, numbers)}"
        if value < spec.lowest:
            return f"{spec.name} is below {spec.lowest:g}"
        return f"{spec.name} is above {spec.highest:g}" if value > spec.highest else None
