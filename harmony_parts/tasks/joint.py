"""Joint generation of video and audio."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import torch

from harmony_parts.av import AV
from harmony_parts.tasks.entries import draw_each, one_per_clip
from harmony_parts.tasks.protocol import Plan, TimeDraw


@attrs.frozen
class Joint:
    """L_joint (arXiv:2511.21579): both streams are noisy and have a loss.

    Their times come from one draw, so they are equal unless the streams have different shifts.
    """

    def plan(self, n: int, draw: TimeDraw, generator: torch.Generator, latents: AV[int]) -> Plan:
        """n entries, one per clip."""
        return one_per_clip("joint", draw(n, generator), latents)

    def plan_each(
        self, draw: TimeDraw, generators: Sequence[torch.Generator], latents: AV[int]
    ) -> Plan:
        """One entry per clip, with a generator each."""
        return one_per_clip("joint", draw_each(draw, generators), latents)
