"""Guidance within an interval of time."""

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
    """Apply `inner` only at times in (low, high] (Kynkäänniemi et al., arXiv:2404.07724).

    The time is that of the noisiest stream. A step outside the window returns the conditional
    prediction, costs one pass and leaves the state of `inner` unchanged.
    """

    inner: Guidance = knob(attrs.Factory(CFG), help="the guidance inside the window")
    low: float = knob(
        0.22,
        help="time (0 data, 1 noise) at and below which there is no guidance",
        off=0.0,
        source=SIGMAS,
        converter=float,
    )
    high: float = knob(
        0.84, help="time above which there is no guidance", off=1.0, source=SIGMAS, converter=float
    )

    @high.validator
    def _a_window(self, field: attrs.Attribute[float], high: float) -> None:
        if not 0 <= self.low < high <= 1:
            raise ValueError(
                f"a window needs 0 <= low < high <= 1; here low is {self.low} and high is {high}"
            )

    def _inside(self, times: StepTimes) -> bool:
        return self.low < times.highest() <= self.high

    def passes(self, times: StepTimes, state: Any) -> Sequence[Pass]:
        """The passes of `inner`, or only the conditional pass outside the window."""
        return self.inner.passes(times, state) if self._inside(times) else [conditional(times)]

    def combine(self, preds: Predictions, times: StepTimes, state: Any) -> tuple[AV[Tensor], Any]:
        """The result of `inner`, or the conditional prediction outside the window."""
        return (
            self.inner.combine(preds, times, state)
            if self._inside(times)
            else (preds[CONDITIONAL].only(times.generated()), state)
        )
