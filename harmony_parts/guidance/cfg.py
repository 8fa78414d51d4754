"""Classifier-free guidance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import torch
from torch import Tensor

from harmony_parts.av import AV
from harmony_parts.guidance.protocol import CONDITIONAL, Pass, Predictions, StepTimes, conditional
from harmony_parts.plugin import knob

DROPPED = "dropped"


@attrs.frozen
class CFG:
    """v = v(null) + s (v(text) - v(null)), with a scale per stream (Ho and Salimans, arXiv:2207.12598).

    A scale of 1 is off, 0 gives the prediction without text. One more pass, which reads only the streams whose scale isn't 1.
    """

    video: float = knob(4.0, help="scale of the video's velocity", off=1.0, source="Ovi's default", converter=float)
    audio: float = knob(3.0, help="scale of the audio's velocity", off=1.0, source="Ovi's default", converter=float)
    drop: tuple[str, ...] = knob(
        ("caption", "sound", "speech"), help="names of the conditions that the second pass goes without", converter=tuple
    )

    def _active(self, times: StepTimes) -> list[str]:
        return [stream for stream in times.generated() if getattr(self, stream) != 1]

    def passes(self, times: StepTimes, state: Any) -> Sequence[Pass]:
        """The task's own pass, and the same without `drop`."""
        active = self._active(times)
        return [conditional(times), *([Pass(DROPPED, times, drop=self.drop, read=active)] if active else [])]

    def combine(self, preds: Predictions, times: StepTimes, state: Any) -> tuple[AV[Tensor], Any]:
        """From the second prediction through the first."""
        guided = preds[CONDITIONAL].only(times.generated())
        active = self._active(times)
        return guided.replace(**{s: torch.lerp(preds[DROPPED][s], guided[s], getattr(self, s)) for s in active}), state
