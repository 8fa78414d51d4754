"""Joint training with independent times (UniDiffuser, Bao et al., arXiv:2303.06555)."""

from __future__ import annotations

import attrs
import torch

from harmony_parts.av import AV
from harmony_parts.plugin import knob
from harmony_parts.tasks.entries import one_per_clip
from harmony_parts.tasks.protocol import Plan, TimeDraw


@attrs.frozen
class OwnTimes:
    """L = |v_v - v^_v(t_v, t_a)|^2 + |v_a - v^_a(t_v, t_a)|^2 (arXiv:2303.06555).

    t_v and t_a are drawn independently. The model learns every conditional distribution between the
    streams; the driven tasks are the cases in which one time is 0. With probability `together` the
    times of a clip are of one draw, as in sampling.
    """

    together: float = knob(
        0.0,
        help="probability that the times of both streams are of one draw",
        off=0.0,
        converter=float,
        validator=[attrs.validators.ge(0), attrs.validators.le(1)],
    )

    def plan(self, n: int, draw: TimeDraw, generator: torch.Generator, latents: AV[int]) -> Plan:
        """n entries, one per clip."""
        first, second = draw(n, generator), draw(n, generator)
        shared = torch.rand(n, generator=generator) < self.together
        video, audio = first["video"], second["audio"]
        times = AV(video, torch.where(shared.to(video.device), first["audio"], audio))
        return one_per_clip("own-times", times, latents)
