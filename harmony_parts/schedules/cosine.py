"""A learning rate that falls along a half cosine at the end of a run."""

from __future__ import annotations

import math

import attrs
from attrs.validators import and_, ge, le

from harmony_parts.plugin import knob


@attrs.frozen
class Cosine:
    """min(1, step / warmup), times floor + (1 - floor) (1 + cos(pi x)) / 2.

    x rises from 0 to 1 over the last `share` of the steps: with a share of 1 it is the schedule of
    arXiv:1608.03983 without restarts. A run that is resumed with another number of steps follows
    the schedule of the new number from there on.
    """

    warmup: int = knob(
        100,
        help="steps over which the learning rate rises from 0",
        unit="steps",
        off=0,
        validator=ge(0),
    )
    share: float = knob(
        1.0,
        help="last share of the steps, over which the rate falls",
        off=0.0,
        converter=float,
        validator=and_(ge(0), le(1)),
    )
    floor: float = knob(
        0.0,
        help="factor in the last step",
        off=1.0,
        converter=float,
        validator=and_(ge(0), le(1)),
    )

    def factor(self, step: int, steps: int) -> float:
        """`floor` in the last step, if `share` is above 0 and the warm-up is over by then."""
        falling = self.share * steps
        x = max(0.0, 1 - (steps - step) / falling) if falling else 0.0
        cosine = self.floor + (1 - self.floor) * (1 + math.cos(math.pi * min(1.0, x))) / 2
        return min(1.0, step / max(1, self.warmup)) * cosine
