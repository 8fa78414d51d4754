"""CFG-Zero* (Fan et al., arXiv:2503.18886)."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs
import torch
from torch import Tensor

from harmony_parts.av import AV
from harmony_parts.guidance.protocol import CONDITIONAL, Pass, Predictions, StepTimes, conditional
from harmony_parts.guidance.scales import TEXT, active, scale
from harmony_parts.plugin import knob


@attrs.frozen
class CFGZero:
    """v' = f v_null + s (v - f v_null), f = <v, v_null> / |v_null|^2 for each sample and stream;
    and v' = 0 in the first `zero_steps`.

    A scale of 1 is off for its stream. State: how many steps there were.
    """

    video: float = scale(4.0, help="scale of the video's velocity", source="Ovi's default for CFG")
    audio: float = scale(3.0, help="scale of the audio's velocity", source="Ovi's default for CFG")
    zero_steps: int = knob(
        1,
        help="steps at the beginning that stay where they are",
        unit="steps",
        off=0,
        source="diffusers' default",
        validator=attrs.validators.ge(0),
    )
    drop: tuple[str, ...] = knob(
        TEXT, help="names of the conditions that the second pass goes without", converter=tuple
    )

    exempt: ClassVar[dict[str, str]] = {
        "zero": "a scale of 0 gives the other prediction at the length that fits best",
        "fixed-point": "the first steps stand still whatever is predicted",
        "affine": "an offset changes the length that fits best, and the first steps have none",
        "space": "the length that fits best is that of velocities",
    }

    def _streams(self, times: StepTimes, state: Any) -> tuple[tuple[str, ...], bool]:
        """The streams that are guided, and whether they stand still."""
        return active(self, times), (state or 0) < self.zero_steps

    def passes(self, times: StepTimes, state: Any) -> list[Pass]:
        """The task's own pass, and, but in the first steps, the same without `drop`."""
        streams, still = self._streams(times, state)
        return [
            conditional(times),
            *(
                [Pass("dropped", times, drop=self.drop, read=streams)]
                if streams and not still
                else []
            ),
        ]

    def combine(self, preds: Predictions, times: StepTimes, state: Any) -> tuple[AV[Tensor], Any]:
        """From the fitted second prediction through the first."""
        own, (streams, still) = (
            preds[CONDITIONAL].only(times.generated()),
            self._streams(times, state),
        )

        def guided(stream: str) -> Tensor:
            return (
                own[stream] * 0
                if still
                else torch.lerp(
                    fitted(preds["dropped"][stream], own[stream]),
                    own[stream],
                    getattr(self, stream),
                )
            )

        return own.replace(**{stream: guided(stream) for stream in streams}), (state or 0) + 1


def fitted(null: Tensor, own: Tensor) -> Tensor:
    """`null` [B, ...] at the length for which it is nearest to `own`; 0 where it has no
    direction.
    """
    a, b = null.flatten(1), own.flatten(1)
    square = (a * a).sum(dim=1)
    factor = torch.where(square > 0, (a * b).sum(dim=1) / square, 0)
    return null * factor.view(-1, *(1,) * (null.ndim - 1))
