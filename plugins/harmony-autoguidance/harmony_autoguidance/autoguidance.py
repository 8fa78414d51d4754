"""Autoguidance (Karras et al., arXiv:2406.02507)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
from torch import Tensor

from harmony_parts.av import AV
from harmony_parts.guidance.protocol import Pass, Predictions, StepTimes, conditional
from harmony_parts.guidance.scales import extrapolate, guided_streams, scale
from harmony_parts.plugin import knob

WEAK = "weak"


@attrs.frozen
class Autoguidance:
    """v = v_weak + s (v - v_weak), a scale per stream (arXiv:2406.02507).

    v_weak is the velocity of a weaker version of the model, for the same latents and the same
    conditions. Where both err in the same direction, the weak model errs further. A scale of 1 is
    off; a scale of 0 gives the weak model. It costs one pass of that model, which reads only the
    streams whose scale isn't 1.
    """

    model: str = knob(
        help=(
            "the weaker model: a model or run folder, or a checkpoint, such as an earlier one of"
            " the same run"
        ),
        validator=attrs.validators.min_len(1),
    )
    video: float = scale(
        2.0, help="scale of the video's velocity", source="arXiv:2406.02507: about 2 for images"
    )
    audio: float = scale(
        2.0, help="scale of the audio's velocity", source="arXiv:2406.02507: about 2 for images"
    )

    def passes(self, times: StepTimes, state: Any) -> Sequence[Pass]:
        """The conditional pass, and the same pass of the weaker model."""
        streams = guided_streams(self, times)
        more = [Pass(WEAK, times, model=self.model, read=streams)] if streams else []
        return [conditional(times), *more]

    def combine(self, preds: Predictions, times: StepTimes, state: Any) -> tuple[AV[Tensor], Any]:
        """Extrapolate from the weaker model's prediction through the conditional one."""
        negatives = dict.fromkeys(guided_streams(self, times), WEAK)
        return extrapolate(self, negatives, preds, times), state
