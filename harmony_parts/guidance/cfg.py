"""Classifier-free guidance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
from torch import Tensor

from harmony_parts.av import AV
from harmony_parts.guidance.protocol import Pass, Predictions, StepTimes, conditional
from harmony_parts.guidance.scales import TEXT, extrapolate, guided_streams, scale
from harmony_parts.plugin import knob

DROPPED = "dropped"


@attrs.frozen
class CFG:
    """v = v(null) + s (v(text) - v(null)), a scale per stream (Ho, Salimans, arXiv:2207.12598).

    A scale of 1 is off; a scale of 0 gives the prediction without text. It costs one extra pass,
    which reads only the streams whose scale isn't 1.
    """

    video: float = scale(4.0, help="scale of the video's velocity", source="Ovi's default")
    audio: float = scale(3.0, help="scale of the audio's velocity", source="Ovi's default")
    drop: tuple[str, ...] = knob(
        TEXT, help="names of the conditions to drop in the second pass", converter=tuple
    )

    def passes(self, times: StepTimes, state: Any) -> Sequence[Pass]:
        """The conditional pass, and the same pass with the conditions of `drop` dropped."""
        streams = guided_streams(self, times)
        return [
            conditional(times),
            *([Pass(DROPPED, times, drop=self.drop, read=streams)] if streams else []),
        ]

    def combine(self, preds: Predictions, times: StepTimes, state: Any) -> tuple[AV[Tensor], Any]:
        """Extrapolate from the prediction without text through the conditional one."""
        negatives = dict.fromkeys(guided_streams(self, times), DROPPED)
        return extrapolate(self, negatives, preds, times), state
