"""Guidance that combines clean estimates instead of velocities."""

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
    """Apply `inner` to clean estimates x = x_t - t v and convert back: v = (x_t - x) / t.

    Only rounding changes if `inner` adds differences of predictions. The result differs if `inner`
    depends on the predictions' norm or direction: `DataSpace(Rescale(CFG(), share=0.7))` is LTX-2's
    guidance. Don't wrap a guidance that computes clean estimates itself.
    """

    inner: Guidance = knob(attrs.Factory(CFG), help="the guidance to apply to clean estimates")

    def passes(self, times: StepTimes, state: Any) -> Sequence[Pass]:
        """The passes of `inner`."""
        return self.inner.passes(times, state)

    def combine(self, preds: Predictions, times: StepTimes, state: Any) -> tuple[AV[Tensor], Any]:
        """Combine clean estimates; streams that `inner` leaves unchanged stay bit for bit."""
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
