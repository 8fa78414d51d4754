"""Guidance whose strength varies with time."""

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
    """v + f(t) (g - v), with g the result of `inner` and v the conditional prediction.

    f interpolates `factors` linearly; they apply at evenly spaced times from 1 (noise) to 0 (data),
    so (0, 2) increases the strength during sampling. t is the time of the noisiest stream. A step
    with f = 0 costs one pass and leaves the state of `inner` unchanged; f = 1 gives `inner` bit for
    bit.
    """

    inner: Guidance = knob(attrs.Factory(CFG), help="the guidance whose strength varies")
    factors: tuple[float, ...] = knob(
        (0.0, 2.0),
        help="factors of the strength, at evenly spaced times from noise to data",
        off=(1.0,),
        source="arXiv:2404.13040, the linear scheduler",
        converter=_floats,
    )

    @factors.validator
    def _some_factors(self, field: attrs.Attribute[Any], factors: tuple[float, ...]) -> None:
        if not factors or not all(0 <= factor < math.inf for factor in factors):
            raise ValueError(
                "factors must hold at least one number, and only finite numbers of at least 0, not"
                f" {list(factors)}"
            )

    def _factor(self, times: StepTimes) -> float:
        place = (1 - times.highest()) * (len(self.factors) - 1)
        before = int(place)
        near, far = self.factors[before], self.factors[min(before + 1, len(self.factors) - 1)]
        return near + (place - before) * (far - near)

    def passes(self, times: StepTimes, state: Any) -> Sequence[Pass]:
        """The passes of `inner`, or only the conditional pass if the factor is 0."""
        return self.inner.passes(times, state) if self._factor(times) else [conditional(times)]

    def combine(self, preds: Predictions, times: StepTimes, state: Any) -> tuple[AV[Tensor], Any]:
        """Interpolate or extrapolate from the conditional prediction to the result of `inner`."""
        own, factor = preds[CONDITIONAL].only(times.generated()), self._factor(times)
        if not factor:
            return own, state
        guided, state = self.inner.combine(preds, times, state)
        return own.map(lambda v, g: torch.lerp(v, g, factor), guided), state
