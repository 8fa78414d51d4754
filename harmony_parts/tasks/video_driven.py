"""Audio generation for given video."""

from __future__ import annotations

import attrs
import torch

from harmony_parts.av import AV
from harmony_parts.tasks.protocol import Plan, TimeDraw


@attrs.frozen
class VideoDriven:
    """L_video_driven (arXiv:2511.21579): clean video (time 0), loss on the noisy audio."""

    def plan(self, n: int, draw: TimeDraw, generator: torch.Generator) -> Plan:
        """n entries, one per clip."""
        t = draw(n, generator)["audio"]
        one, zero, clip = torch.ones_like(t), torch.zeros_like(t), torch.arange(n, device=t.device)
        return Plan(
            source=clip,
            times=AV(zero, t),
            weights=AV(zero, one),
            task=torch.zeros_like(clip),
            names=("video-driven",),
        )
