"""Joint generation of video and audio."""

from __future__ import annotations

import attrs
import torch

from harmony_parts.av import AV
from harmony_parts.tasks.entries import one_per_clip
from harmony_parts.tasks.protocol import Plan, TimeDraw


@attrs.frozen
class Joint:
    """L_joint (arXiv:2511.21579): both streams are noisy and have a loss.

    Their times come from one draw, so they are equal unless the streams have different shifts.
    """

    def plan(self, n: int, draw: TimeDraw, generator: torch.Generator, latents: AV[int]) -> Plan:
        """n entries, one per clip."""
        return one_per_clip("joint", draw(n, generator), latents)
