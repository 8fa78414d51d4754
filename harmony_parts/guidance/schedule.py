"""Guidance whose strength changes with time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor

from harmony_parts.av import AV
from harmony_parts.guidance.cfg import CFG
from harmony_parts.guidance.protocol import (
    CONDITIONAL,
    Guidance,
    Pass,
    Predictions,
    StepTimes,
    conditional,
)
from harmony_parts.plugin import knob


def _floats(values: Iterable[float]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


@attrs.frozen
class Schedule:
    """v + f(t) (g - v), g what `inner` makes of the conditional prediction v: f times as much
    guidance.

    f is linear between `factors`, which stand at even times from 1 (noise) to 0 (data): (0, 2)
    rises while the clip takes form. t is the time of the noisiest stream. Where f is 0 a step costs
    one pass, and the state of `inner` stands still; where it is 1, this is `inner` bit for bit.
    """

    inner: Guidance = knob(attrs.Factory(CFG), help="the guidance whose strength changes")
    factors: tuple[float, ...] = knob(
        (0.0, 2.0),
        help="how many times as strong, at even times from noise to data",
        off=(1.0,),
        source="arXiv:2404.13040, the linear scheduler",
        converter=_floats,
    )

    @factors.validator
    def _some_factors(self, field: attrs.Attribute[Any], factors: tuple[float, ...]) -> None:
        if not factors or not all(0 <= factor < math.inf for factor in factors):
            raise ValueError(
                "factors must be finite numbers of at least 0, one or more of them, not"
                f" {list(factors)}"
            )

    def _factor(self, times: StepTimes) -> float:
        place = (1 - times.highest()) * (len(self.factors) - 1)
        before = int(place)
        near, far = self.factors[before], self.factors[min(before + 1, len(self.factors) - 1)]
        return near + (place - before) * (far - near)

    def passes(self, times: StepTimes, state: Any) -> Sequence[Pass]:
        """Those of `inner`, or the task's own alone."""
        return self.inner.passes(times, state) if self._factor(times) else [conditional(times)]

    def combine(self, preds: Predictions, times: StepTimes, state: Any) -> tuple[AV[Tensor], Any]:
        """From the conditional prediction towards what `inner` makes of it, and past it."""
        own, factor = preds[CONDITIONAL].only(times.generated()), self._factor(times)
        if not factor:
            return own, state
        guided, state = self.inner.combine(preds, times, state)
        return own.map(lambda v, g: torch.lerp(v, g, factor), guided), state
