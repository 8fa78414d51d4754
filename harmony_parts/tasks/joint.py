"""Joint generation of video and audio."""

from __future__ import annotations

import attrs
import torch

from harmony_parts.av import AV
from harmony_parts.tasks.protocol import Plan, TimeDraw


@attrs.frozen
class Joint:
    """L_joint (arXiv:2511.21579): both streams are noisy, at the same time t, and have a loss."""

    def plan(self, n: int, draw: TimeDraw, generator: torch.Generator) -> Plan:
        """n entries, one per clip."""
        t = draw(n, generator)
        one, clip = torch.ones_like(t), torch.arange(n, device=t.device)
        return Plan(
            source=clip,
            times=AV(t, t),
            weights=AV(one, one),
            task=torch.zeros_like(clip),
            names=("joint",),
        )
