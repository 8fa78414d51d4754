"""Video generation for given audio."""

from __future__ import annotations

import attrs
import torch

from harmony_parts.av import AV
from harmony_parts.tasks.protocol import Plan, TimeDraw


@attrs.frozen
class AudioDriven:
    """L_audio_driven (arXiv:2511.21579): clean audio (time 0), loss on the noisy video."""

    def plan(self, n: int, draw: TimeDraw, generator: torch.Generator) -> Plan:
        """n entries, one per clip."""
        t = draw(n, generator)["video"]
        one, zero, clip = torch.ones_like(t), torch.zeros_like(t), torch.arange(n, device=t.device)
        return Plan(
            source=clip,
            times=AV(t, zero),
            weights=AV(one, zero),
            task=torch.zeros_like(clip),
            names=("audio-driven",),
        )
