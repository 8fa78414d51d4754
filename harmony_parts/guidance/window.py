"""Guidance in a window of time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
from torch import Tensor

from harmony_parts.av import AV
from harmony_parts.guidance.cfg import CFG
from harmony_parts.guidance.protocol import (
    CONDITIONAL,
    Guidance,
    Pass,
    Predictions,
    StepTimes,
    conditional,
)
from harmony_parts.plugin import knob

SIGMAS = (
    "arXiv:2404.07724, Stable Diffusion XL: noise levels 0.28 to 5.42, at t = sigma / (1 + sigma)"
)


@attrs.frozen
class Window:
    """`inner` while the time is in (low, high], the conditional prediction before and after
    (Kynkäänniemi et al., arXiv:2404.07724).

    The time is that of the noisiest stream. Outside the window a step costs one pass, and the state
    of `inner` stands still.
    """

    inner: Guidance = knob(attrs.Factory(CFG), help="the guidance inside the window")
    low: float = knob(
        0.22,
        help="time, 0 data to 1 noise, at and below which nothing is guided",
        off=0.0,
        source=SIGMAS,
        converter=float,
    )
    high: float = knob(
        0.84, help="time above which nothing is guided", off=1.0, source=SIGMAS, converter=float
    )

    @high.validator
    def _a_window(self, field: attrs.Attribute[float], high: float) -> None:
        if not 0 <= self.low < high <= 1:
            raise ValueError(
                f"the window must have 0 <= low < high <= 1; here low is {self.low} and high is"
                f" {high}"
            )

    def _inside(self, times: StepTimes) -> bool:
        return self.low < times.highest() <= self.high

    def passes(self, times: StepTimes, state: Any) -> Sequence[Pass]:
        """Those of `inner`, or the task's own alone."""
        return self.inner.passes(times, state) if self._inside(times) else [conditional(times)]

    def combine(self, preds: Predictions, times: StepTimes, state: Any) -> tuple[AV[Tensor], Any]:
        """What `inner` makes of them, or the conditional prediction."""
        return (
            self.inner.combine(preds, times, state)
            if self._inside(times)
            else (preds[CONDITIONAL].only(times.generated()), state)
        )
