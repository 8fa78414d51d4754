"""Video generation for given audio."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import torch

from harmony_parts.av import AV
from harmony_parts.tasks.entries import draw_each, one_per_clip
from harmony_parts.tasks.protocol import Plan, TimeDraw


@attrs.frozen
class AudioDriven:
    """L_audio_driven (arXiv:2511.21579): clean audio (time 0), loss on the noisy video."""

    def plan(self, n: int, draw: TimeDraw, generator: torch.Generator, latents: AV[int]) -> Plan:
        """n entries, one per clip."""
        return one_per_clip("audio-driven", draw(n, generator), latents, given=("audio",))

    def plan_each(
        self, draw: TimeDraw, generators: Sequence[torch.Generator], latents: AV[int]
    ) -> Plan:
        """One entry per clip, with a generator each."""
        return one_per_clip("audio-driven", draw_each(draw, generators), latents, given=("audio",))
