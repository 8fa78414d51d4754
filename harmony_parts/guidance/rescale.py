"""Rescaled guidance: undoes the growth of the prediction's norm under strong scales."""

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
    """g' = g ((1 - share) + share std(v) / std(g)) (Lin et al., arXiv:2305.08891).

    v is the conditional prediction and g the result of `inner`. The standard deviation is taken
    over all latents of a sample, separately for each stream. If that of g is 0, g is unchanged.
    Velocities are rescaled, as in Lin et al.; wrap it in `data-space` for LTX-2's variant, which
    rescales clean estimates.
    """

    inner: Guidance = knob(attrs.Factory(CFG), help="the guidance whose result is rescaled")
    share: float = knob(
        0.7,
        help="weight of the rescaled result; 1 gives the conditional prediction's deviation",
        off=0.0,
        source="arXiv:2305.08891, LTX-2's default",
        converter=float,
        validator=[attrs.validators.ge(0), attrs.validators.le(1)],
    )

    exempt: ClassVar[Mapping[str, str]] = {
        "affine": (
            "a constant added to all predictions doesn't change their standard deviation, but is"
            " rescaled with them"
        ),
        "space": "velocities and clean estimates have different standard deviations",
    }

    def passes(self, times: StepTimes, state: Any) -> Sequence[Pass]:
        """The passes of `inner`."""
        return self.inner.passes(times, state)

    def combine(self, preds: Predictions, times: StepTimes, state: Any) -> tuple[AV[Tensor], Any]:
        """The rescaled result of `inner`."""
        guided, state = self.inner.combine(preds, times, state)
        return guided.map(self._rescaled, preds[CONDITIONAL]), state

    def _rescaled(self, guided: Tensor, own: Tensor) -> Tensor:
        size, wanted = (v.flatten(1).std(dim=1, correction=0) for v in (guided, own))
        # A deviation below the conditional prediction's rounding error is noise: don't rescale.
        significant = size > wanted * torch.finfo(own.dtype).eps
        factor = torch.where(significant, wanted / size, 1)
        return guided * torch.lerp(torch.ones_like(factor), factor, self.share).view(
            -1, *(1,) * (guided.ndim - 1)
        )
