"""Generation that goes on from given first latents."""

from __future__ import annotations

from typing import Literal

import attrs
import torch

from harmony_parts.av import AV, STREAMS, Times
from harmony_parts.plugin import knob
from harmony_parts.tasks.joint import Joint
from harmony_parts.tasks.protocol import Plan, Task, TimeDraw


@attrs.frozen
class Continuation:
    """The plan of `inner` with the first latents of its streams given: clean, and without a loss.

    A share f is drawn uniformly per entry; of the T latents of a stream the first k = round(f T)
    are at time 0, at least one and at most T - 1. So both streams are given for about the same
    time, as in a clip that goes on from another one. A stream of one latent is as in `inner`.
    Around a driven task, the other stream stays given as a whole. Source: videos are continued from
    clean first frames in this way by arXiv:2204.03458 (replacement, there without training on it)
    and arXiv:2205.11495 (training with given frames).
    """

    inner: Task = knob(Joint(), help="the task that goes on from the given latents")
    streams: Literal["both", "video", "audio"] = knob(
        "both",
        help="the streams whose beginning is given",
        validator=attrs.validators.in_(("both", *STREAMS)),
    )
    shortest: float = knob(
        0.1,
        help="least share of a stream that is given",
        converter=float,
        validator=[attrs.validators.ge(0), attrs.validators.le(1)],
    )
    longest: float = knob(
        0.75,
        help="greatest share of a stream that is given",
        converter=float,
        validator=[attrs.validators.ge(0), attrs.validators.le(1)],
    )

    @longest.validator
    def _in_order(self, attribute: object, longest: float) -> None:
        if longest < self.shortest:
            raise ValueError(
                f"longest must be at least shortest ({self.shortest:g}), not {longest:g}"
            )

    def plan(self, n: int, draw: TimeDraw, generator: torch.Generator, latents: AV[int]) -> Plan:
        """The entries of `inner`; their names end in `-continued`."""
        plan = self.inner.plan(n, draw, generator, latents)
        drawn = torch.rand(len(plan.source), 1, generator=generator, device=generator.device)
        share = self.shortest + (self.longest - self.shortest) * drawn

        def begun(times: Times, stream: str) -> Times:
            length = times.index.shape[1]
            if length < 2 or self.streams not in ("both", stream):
                return times
            known = (share * length).round().clamp(1, length - 1)
            return times.clean_where(torch.arange(length, device=share.device) < known)

        return attrs.evolve(
            plan,
            times=plan.times.map(begun, AV(*STREAMS)),
            names=tuple(f"{name}-continued" for name in plan.names),
        )
