"""Classifier-free guidance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
from torch import Tensor

from harmony_parts.av import AV
from harmony_parts.guidance.protocol import Pass, Predictions, StepTimes, conditional
from harmony_parts.guidance.scales import TEXT, active, lead_away, scale
from harmony_parts.plugin import knob

DROPPED = "dropped"


@attrs.frozen
class CFG:
    """v = v(null) + s (v(text) - v(null)), with a scale per stream (Ho and Salimans,
    arXiv:2207.12598).

    A scale of 1 is off, 0 gives the prediction without text. One more pass, which reads only the
    streams whose scale isn't 1.
    """

    video: float = scale(4.0, help="scale of the video's velocity", source="Ovi's default")
    audio: float = scale(3.0, help="scale of the audio's velocity", source="Ovi's default")
    drop: tuple[str, ...] = knob(
        TEXT, help="names of the conditions that the second pass goes without", converter=tuple
    )

    def passes(self, times: StepTimes, state: Any) -> Sequence[Pass]:
        """The task's own pass, and the same without `drop`."""
        streams = active(self, times)
        return [
            conditional(times),
            *([Pass(DROPPED, times, drop=self.drop, read=streams)] if streams else []),
        ]

    def combine(self, preds: Predictions, times: StepTimes, state: Any) -> tuple[AV[Tensor], Any]:
        """From the second prediction through the first."""
        return lead_away(self, dict.fromkeys(active(self, times), DROPPED), preds, times), state
