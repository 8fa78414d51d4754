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
    """The unmodified conditional prediction."""

    def passes(self, times: StepTimes, state: Any) -> Sequence[Pass]:
        """Only the conditional pass."""
        return [conditional(times)]

    def combine(self, preds: Predictions, times: StepTimes, state: Any) -> tuple[AV[Tensor], Any]:
        """The prediction of the conditional pass."""
        return preds[CONDITIONAL].only(times.generated()), state
