"""Sound for a given video."""

from __future__ import annotations

import attrs
import torch

from harmony_parts.av import AV
from harmony_parts.tasks.protocol import Plan, TimeDraw


@attrs.frozen
class VideoDriven:
    """The video is clean (time 0), the sound is noisy and learnt: L_video_driven
    (arXiv:2511.21579).
    """

    def plan(self, n: int, draw: TimeDraw, generator: torch.Generator) -> Plan:
        """n entries, one a clip."""
        t = draw(n, generator)
        one, zero, clip = torch.ones_like(t), torch.zeros_like(t), torch.arange(n, device=t.device)
        return Plan(
            source=clip,
            times=AV(zero, t),
            weights=AV(zero, one),
            task=torch.zeros_like(clip),
            names=("video-driven",),
        )
