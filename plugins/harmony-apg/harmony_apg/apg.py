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
from harmony_parts.guidance.scales import TEXT, active, scale
from harmony_parts.plugin import knob


@attrs.frozen
class APG:
    """x' = x + (s - 1) (d_across + parallel d_along), on clean estimates x = x_t - t v of each
    stream (arXiv:2410.02416).

    d = x - x_null + momentum d_before, shortened to the norm `bound`, is split into what is along x
    and what is across. State: the last step's d, before it was shortened. A scale of 1 is off; with
    all but the scales off it is CFG.
    """

    video: float = scale(4.0, help="scale of the video's velocity", source="Ovi's default for CFG")
    audio: float = scale(3.0, help="scale of the audio's velocity", source="Ovi's default for CFG")
    parallel: float = knob(
        0.0,
        help="share that is kept along the estimate (eta)",
        off=1.0,
        source="arXiv:2410.02416",
        converter=float,
    )
    bound: float = knob(
        15.0,
        help=(
            "greatest norm of the difference over all latents of a sample (r); it grows as the root"
            " of their number"
        ),
        off=0.0,
        source="diffusers' default",
        converter=float,
        validator=attrs.validators.ge(0),
    )
    momentum: float = knob(
        -0.5,
        help=(
            "share of the last step's difference (beta); below 0 it goes less where it went before"
        ),
        off=0.0,
        source="arXiv:2410.02416: below 0",
        converter=float,
        validator=[attrs.validators.gt(-1), attrs.validators.lt(1)],
    )
    drop: tuple[str, ...] = knob(
        TEXT, help="names of the conditions that the second pass goes without", converter=tuple
    )

    exempt: ClassVar[dict[str, str]] = {
        "zero": (
            "the difference that a scale of 0 takes away is projected, bounded and remembered first"
        ),
        "affine": "an offset turns the direction of the estimate",
        "homogeneous": "the bound is a size of its own",
        "space": "it makes clean estimates of velocities itself",
    }

    def passes(self, times: StepTimes, state: Any) -> list[Pass]:
        """The task's own pass, and the same without `drop`."""
        streams = active(self, times)
        return [
            conditional(times),
            *([Pass("dropped", times, drop=self.drop, read=streams)] if streams else []),
        ]

    def combine(self, preds: Predictions, times: StepTimes, state: Any) -> tuple[AV[Tensor], Any]:
        """The conditional prediction, and what is left of the difference."""
        guided, pushes = preds[CONDITIONAL].only(times.generated()), dict(state or {})
        for stream in active(self, times):
            t, v = times[stream] or 0.0, guided[stream]
            push = t * (preds["dropped"][stream] - v)  # x - x_null, as x = x_t - t v
            if stream in pushes:
                push = push + self.momentum * pushes[stream]
            pushes[stream] = push
            shaped = self.shaped(push, preds[LATENTS][stream] - t * v)
            guided = guided.replace(**{stream: v - (getattr(self, stream) - 1) / t * shaped})
        return guided, pushes

    def shaped(self, push: Tensor, estimate: Tensor) -> Tensor:
        """`push` shortened to the bound, with `parallel` times what is along `estimate`; both [B,
        ...].
        """
        flat = push.flatten(1)
        if self.bound:
            flat = flat * (self.bound / flat.norm(dim=1, keepdim=True)).clamp(max=1)
        unit = normalize(estimate.flatten(1), dim=1)
        along = (flat * unit).sum(dim=1, keepdim=True) * unit
        return (flat - (1 - self.parallel) * along).view_as(push)
