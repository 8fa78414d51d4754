"""Skip-layer guidance: away from the prediction of the network without one block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
from torch import Tensor

from harmony_parts.av import AV
from harmony_parts.guidance.protocol import Pass, Predictions, StepTimes, conditional
from harmony_parts.guidance.scales import TEXT, extrapolate, guided_streams, scale
from harmony_parts.plugin import knob

SKIPPED = "skipped"
REMEDY = "set `layer` to one of these numbers, if there are any (`harmony generate`: --set layer=N)"


@attrs.frozen
class SkipLayer:
    """v = v_skip + s (v - v_skip), with block `layer` and the text left out of v_skip.

    This is Ovi's only negative pass. With `drop = ()` the text is kept, so that the guidance can be
    summed with `cfg`. The denoiser must support the hint `skip-N` for block N, counted from 0. A
    scale of 1 is off; a scale of 0 gives v_skip.
    """

    layer: int = knob(
        11,
        help="the joint block to skip, counted from 0, less than the model's number of blocks",
        source="Ovi's default",
        validator=attrs.validators.ge(0),
    )
    video: float = scale(4.0, help="scale of the video's velocity", source="Ovi's default")
    audio: float = scale(3.0, help="scale of the audio's velocity", source="Ovi's default")
    drop: tuple[str, ...] = knob(
        TEXT,
        help="names of the conditions to drop in the pass that skips the block",
        off=(),
        converter=tuple,
    )

    def passes(self, times: StepTimes, state: Any) -> Sequence[Pass]:
        """The conditional pass, and the pass without the block and the text."""
        streams = guided_streams(self, times)
        hints = {f"skip-{self.layer}"}
        more = (
            [Pass(SKIPPED, times, drop=self.drop, hints=hints, read=streams, remedy=REMEDY)]
            if streams
            else []
        )
        return [conditional(times), *more]

    def combine(self, preds: Predictions, times: StepTimes, state: Any) -> tuple[AV[Tensor], Any]:
        """Extrapolate from the prediction without the block through the conditional one."""
        negatives = dict.fromkeys(guided_streams(self, times), SKIPPED)
        return extrapolate(self, negatives, preds, times), state
