"""Guidance of clean estimates in place of velocities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import torch
from torch import Tensor

from harmony_parts.av import AV
from harmony_parts.guidance.cfg import CFG
from harmony_parts.guidance.protocol import (
    CONDITIONAL,
    LATENTS,
    Guidance,
    Pass,
    Predictions,
    StepTimes,
)
from harmony_parts.plugin import knob


@attrs.frozen
class DataSpace:
    """`inner` on the clean estimates x = x_t - t v of all passes; what it makes of them goes back,
    v = (x_t - x) / t.

    For guidance that adds differences it changes nothing but rounding. For guidance with a size or
    a direction of its own it does: `DataSpace(Rescale(CFG(), share=0.7))` is LTX-2's. Not for a
    guidance that makes clean estimates itself.
    """

    inner: Guidance = knob(attrs.Factory(CFG), help="the guidance of clean estimates")

    def passes(self, times: StepTimes, state: Any) -> Sequence[Pass]:
        """Those of `inner`."""
        return self.inner.passes(times, state)

    def combine(self, preds: Predictions, times: StepTimes, state: Any) -> tuple[AV[Tensor], Any]:
        """There, and back again; what `inner` leaves alone comes back bit for bit."""
        x, t = preds[LATENTS], AV(times.video, times.audio)

        def clean(velocity: AV[Tensor]) -> AV[Tensor]:
            return velocity.map(lambda v, x, t: x - t * v, x, t)

        data = {
            name: velocity if name == LATENTS else clean(velocity)
            for name, velocity in preds.items()
        }
        guided, state = self.inner.combine(data, times, state)

        def back(guided: Tensor, own: Tensor, v: Tensor, x: Tensor, t: float) -> Tensor:
            return v if torch.equal(guided, own) else (x - guided) / t

        return guided.map(back, data[CONDITIONAL], preds[CONDITIONAL], x, t), state
