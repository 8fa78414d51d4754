"""Skip-layer guidance: away from the same network with one block left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
from torch import Tensor

from harmony_parts.av import AV
from harmony_parts.guidance.protocol import Pass, Predictions, StepTimes, conditional
from harmony_parts.guidance.scales import TEXT, active, lead_away, scale
from harmony_parts.plugin import knob

SKIPPED = "skipped"
REMEDY = (
    "set `layer` to one of these numbers, where there are any (`harmony generate`: --set layer=N)"
)


@attrs.frozen
class SkipLayer:
    """v = v_skip + s (v - v_skip), v_skip from the network without block `layer`, and without text:
    Ovi's only negative pass.

    With `drop = ()` the text stays, and it is a term of its own to sum with `cfg`. The denoiser
    must know the hint `skip-N` for the block N, counted from 0. A scale of 1 is off, 0 gives the
    skipping pass.
    """

    layer: int = knob(
        11,
        help="the joint block to leave out, counted from 0; a model of fewer blocks needs another",
        source="Ovi's default",
        validator=attrs.validators.ge(0),
    )
    video: float = scale(4.0, help="scale of the video's velocity", source="Ovi's default")
    audio: float = scale(3.0, help="scale of the audio's velocity", source="Ovi's default")
    drop: tuple[str, ...] = knob(
        TEXT,
        help="names of the conditions that the skipping pass goes without",
        off=(),
        converter=tuple,
    )

    def passes(self, times: StepTimes, state: Any) -> Sequence[Pass]:
        """The task's own pass, and the one without the block and the text."""
        streams = active(self, times)
        hints = {f"skip-{self.layer}"}
        more = (
            [Pass(SKIPPED, times, drop=self.drop, hints=hints, read=streams, remedy=REMEDY)]
            if streams
            else []
        )
        return [conditional(times), *more]

    def combine(self, preds: Predictions, times: StepTimes, state: Any) -> tuple[AV[Tensor], Any]:
        """From the second prediction through the first."""
        return lead_away(self, dict.fromkeys(active(self, times), SKIPPED), preds, times), state
