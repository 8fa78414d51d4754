"""No guidance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
from torch import Tensor

from harmony_parts.av import AV
from harmony_parts.guidance.protocol import CONDITIONAL, Pass, Predictions, StepTimes, conditional


@attrs.frozen
class NoGuidance:
    """The conditional prediction, untouched."""

    def passes(self, times: StepTimes, state: Any) -> Sequence[Pass]:
        """The task's own pass."""
        return [conditional(times)]

    def combine(self, preds: Predictions, times: StepTimes, state: Any) -> tuple[AV[Tensor], Any]:
        """What that pass predicts."""
        return preds[CONDITIONAL].only(times.generated()), state
