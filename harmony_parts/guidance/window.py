"""Guidance within an interval of time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
from torch import Tensor

from harmony_parts.av import AV
from harmony_parts.guidance.active_streams import combine_for, passes_for
from harmony_parts.guidance.cfg import CFG
from harmony_parts.guidance.protocol import Guidance, Pass, Predictions, StepTimes
from harmony_parts.plugin import knob

SIGMAS = (
    "arXiv:2404.07724, Stable Diffusion XL: noise levels 0.28 to 5.42, at t = sigma / (1 + sigma)"
)


@attrs.frozen
class Window:
    """Apply `inner` only at times in (low, high] (Kynkäänniemi et al., arXiv:2404.07724).

    Each stream is inside or outside by its own time. A stream outside gets its conditional
    prediction bit for bit, and no other pass reads it. A step with all streams outside costs one
    pass and leaves the state of `inner` unchanged.
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

    def _inside(self, times: StepTimes) -> list[str]:
        return [s for s in times.generated() if self.low < (times[s] or 0.0) <= self.high]

    def passes(self, times: StepTimes, state: Any) -> Sequence[Pass]:
        """The passes of `inner` for the streams inside the window, and the conditional pass."""
        return passes_for(self._inside(times), self.inner, times, state)

    def combine(self, preds: Predictions, times: StepTimes, state: Any) -> tuple[AV[Tensor], Any]:
        """The result of `inner` inside the window, the conditional prediction outside."""
        return combine_for(self._inside(times), self.inner, preds, times, state)
