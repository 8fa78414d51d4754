"""Joint generation of video and audio."""

from __future__ import annotations

import attrs
import torch

from harmony_parts.av import AV
from harmony_parts.tasks.protocol import Plan, TimeDraw


@attrs.frozen
class Joint:
    """L_joint (arXiv:2511.21579): both streams are noisy and have a loss.

    Their times come from one draw, so they are equal unless the streams have different shifts.
    """

    def plan(self, n: int, draw: TimeDraw, generator: torch.Generator) -> Plan:
        """n entries, one per clip."""
        t = draw(n, generator)
        one, clip = torch.ones_like(t["video"]), torch.arange(n, device=t["video"].device)
        return Plan(
            source=clip,
            times=t,
            weights=AV(one, one),
            task=torch.zeros_like(clip),
            names=("joint",),
        )
