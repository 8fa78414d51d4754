"""Rescaled guidance: what strong scales do to the size of a prediction, undone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import attrs
import torch
from torch import Tensor

from harmony_parts.av import AV
from harmony_parts.guidance.cfg import CFG
from harmony_parts.guidance.protocol import CONDITIONAL, Guidance, Pass, Predictions, StepTimes
from harmony_parts.plugin import knob


@attrs.frozen
class Rescale:
    """g' = g ((1 - share) + share std(v) / std(g)), g what `inner` makes of the conditional
    prediction v (Lin et al., arXiv:2305.08891).

    The standard deviation is over all latents of a sample, a stream by itself. A guided prediction
    without any is left as it is. On velocities, as Lin et al. do it; around it, `data-space` makes
    it LTX-2's, which rescales clean estimates.
    """

    inner: Guidance = knob(attrs.Factory(CFG), help="the guidance whose size is brought back")
    share: float = knob(
        0.7,
        help="how much of the way to the standard deviation of the conditional prediction",
        off=0.0,
        source="arXiv:2305.08891, LTX-2's default",
        converter=float,
        validator=[attrs.validators.ge(0), attrs.validators.le(1)],
    )

    exempt: ClassVar[Mapping[str, str]] = {
        "affine": (
            "an offset of all predictions doesn't change their standard deviation, and so is"
            " rescaled like the rest"
        ),
        "space": "velocities and clean estimates have different standard deviations",
    }

    def passes(self, times: StepTimes, state: Any) -> Sequence[Pass]:
        """Those of `inner`."""
        return self.inner.passes(times, state)

    def combine(self, preds: Predictions, times: StepTimes, state: Any) -> tuple[AV[Tensor], Any]:
        """What `inner` makes of them, rescaled."""
        guided, state = self.inner.combine(preds, times, state)
        return guided.map(self._rescaled, preds[CONDITIONAL]), state

    def _rescaled(self, guided: Tensor, own: Tensor) -> Tensor:
        size, wanted = (v.flatten(1).std(dim=1, correction=0) for v in (guided, own))
        # Below the rounding of the conditional prediction, what is left of the guided one's
        # variation is noise: nothing to rescale.
        there = size > wanted * torch.finfo(own.dtype).eps
        factor = torch.where(there, wanted / size, 1)
        return guided * torch.lerp(torch.ones_like(factor), factor, self.share).view(
            -1, *(1,) * (guided.ndim - 1)
        )
