"""Adaptive projected guidance (Sadat et al., arXiv:2410.02416)."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs
from torch import Tensor
from torch.nn.functional import normalize

from harmony_parts.av import AV
from harmony_parts.guidance.protocol import (
    CONDITIONAL,
    LATENTS,
    Pass,
    Predictions,
    StepTimes,
    conditional,
)
from harmony_parts.guidance.scales import TEXT, guided_streams, scale
from harmony_parts.plugin import knob


@attrs.frozen
class APG:
    """x' = x + (s - 1) (d_orthogonal + parallel d_parallel) (arXiv:2410.02416).

    x = x_t - t v are the clean estimates of a stream. The difference d = x - x_null + momentum
    d_before is limited to the norm `bound`, then split into its components parallel and orthogonal
    to x. State: the unlimited d of the previous step. A scale of 1 is off. If all other settings
    are off, this is CFG.
    """

    video: float = scale(4.0, help="scale of the video's velocity", source="Ovi's default for CFG")
    audio: float = scale(3.0, help="scale of the audio's velocity", source="Ovi's default for CFG")
    parallel: float = knob(
        0.0,
        help="factor of the component parallel to the estimate (eta)",
        off=1.0,
        source="arXiv:2410.02416",
        converter=float,
    )
    bound: float = knob(
        15.0,
        help=(
            "maximum norm of the difference over all latents of a sample (r); scale it with the"
            " square root of their number"
        ),
        off=0.0,
        source="diffusers' default",
        converter=float,
        validator=attrs.validators.ge(0),
    )
    momentum: float = knob(
        -0.5,
        help=(
            "factor of the previous step's difference (beta); negative values reduce repeated"
            " changes"
        ),
        off=0.0,
        source="arXiv:2410.02416: below 0",
        converter=float,
        validator=[attrs.validators.gt(-1), attrs.validators.lt(1)],
    )
    drop: tuple[str, ...] = knob(
        TEXT, help="names of the conditions to drop in the second pass", converter=tuple
    )

    exempt: ClassVar[dict[str, str]] = {
        "zero": (
            "the difference that a scale of 0 subtracts is projected, bounded and given momentum"
        ),
        "affine": "an offset changes the direction of the estimate",
        "homogeneous": "the bound is an absolute norm",
        "space": "it computes clean estimates from velocities itself",
    }

    def passes(self, times: StepTimes, state: Any) -> list[Pass]:
        """The conditional pass, and the same pass with the conditions of `drop` dropped."""
        streams = guided_streams(self, times)
        return [
            conditional(times),
            *([Pass("dropped", times, drop=self.drop, read=streams)] if streams else []),
        ]

    def combine(self, preds: Predictions, times: StepTimes, state: Any) -> tuple[AV[Tensor], Any]:
        """Add the projected and bounded difference to the conditional prediction."""
        guided, differences = preds[CONDITIONAL].only(times.generated()), dict(state or {})
        for stream in guided_streams(self, times):
            t, v = times[stream] or 0.0, guided[stream]
            difference = t * (preds["dropped"][stream] - v)  # x - x_null, as x = x_t - t v
            if stream in differences:
                difference = difference + self.momentum * differences[stream]
            differences[stream] = difference
            shaped = self._shaped(difference, preds[LATENTS][stream] - t * v)
            guided = guided.replace(**{stream: v - (getattr(self, stream) - 1) / t * shaped})
        return guided, differences

    def _shaped(self, difference: Tensor, estimate: Tensor) -> Tensor:
        """The difference [B, ...], limited in norm, with its parallel component scaled."""
        flat = difference.flatten(1)
        if self.bound:
            flat = flat * (self.bound / flat.norm(dim=1, keepdim=True)).clamp(max=1)
        unit = normalize(estimate.flatten(1), dim=1)
        along = (flat * unit).sum(dim=1, keepdim=True) * unit
        return (flat - (1 - self.parallel) * along).view_as(difference)
