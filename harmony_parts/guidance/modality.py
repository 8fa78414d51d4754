"""Modality guidance: away from streams that don't hear each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
from torch import Tensor

from harmony_parts.av import AV
from harmony_parts.guidance.protocol import Pass, Predictions, StepTimes, conditional
from harmony_parts.guidance.scales import active, lead_away, scale

APART = "apart"


@attrs.frozen
class Modality:
    """v = v_apart + s (v - v_apart), v_apart from the same latents and text with every exchange
    between the streams cut (LTX-2).

    The denoiser must know the hint `isolate`. Unlike SyncCFG's negatives, which are driven tasks
    that the model was trained on, this one takes a part of the network away. A scale of 1 is off, 0
    gives streams made apart; where there is one stream alone, it does nothing.
    """

    video: float = scale(3.0, help="scale of the video's velocity", source="LTX-2's modality_scale")
    audio: float = scale(3.0, help="scale of the audio's velocity", source="LTX-2's modality_scale")

    def _active(self, times: StepTimes) -> tuple[str, ...]:
        return active(self, times) if len(tuple(times.present())) > 1 else ()

    def passes(self, times: StepTimes, state: Any) -> Sequence[Pass]:
        """The task's own pass, and the same without exchange."""
        streams = self._active(times)
        return [
            conditional(times),
            *([Pass(APART, times, hints={"isolate"}, read=streams)] if streams else []),
        ]

    def combine(self, preds: Predictions, times: StepTimes, state: Any) -> tuple[AV[Tensor], Any]:
        """From the second prediction through the first."""
        return lead_away(self, dict.fromkeys(self._active(times), APART), preds, times), state
