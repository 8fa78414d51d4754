"""CFG-Zero* (Fan et al., arXiv:2503.18886)."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs
import torch
from torch import Tensor

from harmony_parts.av import AV
from harmony_parts.guidance.protocol import CONDITIONAL, Pass, Predictions, StepTimes, conditional
from harmony_parts.guidance.scales import TEXT, guided_streams, scale
from harmony_parts.plugin import knob


@attrs.frozen
class CFGZero:
    """v' = f v_null + s (v - f v_null), f = <v, v_null> / |v_null|^2 per sample and stream.

    In the first `zero_steps` steps v' = 0. A scale of 1 is off for its stream. State: the number of
    finished steps.
    """

    video: float = scale(4.0, help="scale of the video's velocity", source="Ovi's default for CFG")
    audio: float = scale(3.0, help="scale of the audio's velocity", source="Ovi's default for CFG")
    zero_steps: int = knob(
        1,
        help="number of initial steps with a velocity of 0",
        unit="steps",
        off=0,
        source="diffusers' default",
        validator=attrs.validators.ge(0),
    )
    drop: tuple[str, ...] = knob(
        TEXT, help="names of the conditions to drop in the second pass", converter=tuple
    )

    exempt: ClassVar[dict[str, str]] = {
        "zero": "a scale of 0 gives the optimally scaled negative prediction",
        "fixed-point": "the first steps have a velocity of 0 for any prediction",
        "affine": "an offset changes the optimal scale, and the first steps ignore it",
        "space": "the optimal scale is one of velocities",
    }

    def _is_zero(self, state: Any) -> bool:
        """Whether this is one of the first steps, with a velocity of 0."""
        return (state or 0) < self.zero_steps

    def passes(self, times: StepTimes, state: Any) -> list[Pass]:
        """The conditional pass and, after the first steps, the same pass without `drop`."""
        passes, streams = [conditional(times)], guided_streams(self, times)
        if streams and not self._is_zero(state):
            passes.append(Pass("dropped", times, drop=self.drop, read=streams))
        return passes

    def combine(self, preds: Predictions, times: StepTimes, state: Any) -> tuple[AV[Tensor], Any]:
        """Extrapolate from the scaled negative through the conditional prediction."""
        own, is_zero = preds[CONDITIONAL].only(times.generated()), self._is_zero(state)

        def guided(stream: str) -> Tensor:
            v = own[stream]
            if is_zero:
                return v * 0
            return torch.lerp(fitted(preds["dropped"][stream], v), v, getattr(self, stream))

        streams = guided_streams(self, times)
        return own.replace(**{stream: guided(stream) for stream in streams}), (state or 0) + 1


def fitted(null: Tensor, own: Tensor) -> Tensor:
    """`null` [B, ...] scaled to the smallest distance from `own`; 0 stays 0."""
    a, b = null.flatten(1), own.flatten(1)
    square = (a * a).sum(dim=1)
    factor = torch.where(square > 0, (a * b).sum(dim=1) / square, 0)
    return null * factor.view(-1, *(1,) * (null.ndim - 1))
