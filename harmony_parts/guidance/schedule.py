"""Guidance whose strength varies with time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor

from harmony_parts.av import AV
from harmony_parts.guidance.active_streams import combine_for, passes_for
from harmony_parts.guidance.cfg import CFG
from harmony_parts.guidance.protocol import (
    CONDITIONAL,
    Guidance,
    Pass,
    Predictions,
    StepTimes,
)
from harmony_parts.plugin import knob


def _floats(values: Iterable[float]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


@attrs.frozen
class Schedule:
    """v + f(t) (g - v), with g the result of `inner` and v the conditional prediction.

    f interpolates `factors` linearly; they apply at evenly spaced times from 1 (noise) to 0 (data),
    so (0, 2) increases the strength during sampling. t is each stream's own time. A stream with f =
    0 gets its conditional prediction bit for bit, and no other pass reads it; f = 1 gives `inner`
    bit for bit. A step with f = 0 for all streams costs one pass and leaves the state of `inner`
    unchanged.
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

    def _factor(self, t: float) -> float:
        place = (1 - t) * (len(self.factors) - 1)
        before = int(place)
        near, far = self.factors[before], self.factors[min(before + 1, len(self.factors) - 1)]
        return near + (place - before) * (far - near)

    def _factors(self, times: StepTimes) -> dict[str, float]:
        """The factor of each generated stream, without those that are 0."""
        factors = {stream: self._factor(times[stream] or 0.0) for stream in times.generated()}
        return {stream: factor for stream, factor in factors.items() if factor}

    def passes(self, times: StepTimes, state: Any) -> Sequence[Pass]:
        """The passes of `inner` for streams whose factor isn't 0, and the conditional pass."""
        return passes_for(self._factors(times), self.inner, times, state)

    def combine(self, preds: Predictions, times: StepTimes, state: Any) -> tuple[AV[Tensor], Any]:
        """Interpolate or extrapolate from the conditional prediction to the result of `inner`."""
        own, factors = preds[CONDITIONAL], self._factors(times)
        guided, state = combine_for(factors, self.inner, preds, times, state)
        return guided.replace(
            **{s: torch.lerp(own[s], guided[s], factor) for s, factor in factors.items()}
        ), state
