"""Modality guidance: away from the prediction without exchange between the streams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
from torch import Tensor

from harmony_parts.av import AV
from harmony_parts.guidance.protocol import Pass, Predictions, StepTimes, conditional
from harmony_parts.guidance.scales import extrapolate, guided_streams, scale

APART = "apart"


@attrs.frozen
class Modality:
    """v = v_apart + s (v - v_apart), with the exchange between the streams cut in v_apart (LTX-2).

    v_apart is predicted from the same latents and text. The denoiser must support the hint
    `isolate`. SyncCFG's negatives are driven tasks that the model was trained on; this negative
    removes a part of the network instead. A scale of 1 is off; a scale of 0 gives independently
    predicted streams. It does nothing if there is only one stream.
    """

    video: float = scale(3.0, help="scale of the video's velocity", source="LTX-2's modality_scale")
    audio: float = scale(3.0, help="scale of the audio's velocity", source="LTX-2's modality_scale")

    def _active(self, times: StepTimes) -> tuple[str, ...]:
        return guided_streams(self, times) if len(tuple(times.present())) > 1 else ()

    def passes(self, times: StepTimes, state: Any) -> Sequence[Pass]:
        """The conditional pass, and the same pass without exchange between the streams."""
        streams = self._active(times)
        return [
            conditional(times),
            *([Pass(APART, times, hints={"isolate"}, read=streams)] if streams else []),
        ]

    def combine(self, preds: Predictions, times: StepTimes, state: Any) -> tuple[AV[Tensor], Any]:
        """Extrapolate from the isolated prediction through the conditional one."""
        negatives = dict.fromkeys(self._active(times), APART)
        return extrapolate(self, negatives, preds, times), state
