"""A constant learning rate after a warm-up."""

from __future__ import annotations

import attrs
from attrs.validators import ge

from harmony_parts.plugin import knob


@attrs.frozen
class Constant:
    """min(1, step / warmup)."""

    warmup: int = knob(
        100,
        help="steps over which the learning rate rises from 0",
        unit="steps",
        off=0,
        validator=ge(0),
    )

    def factor(self, step: int, steps: int) -> float:
        """1 after the warm-up."""
        return min(1.0, step / max(1, self.warmup))
