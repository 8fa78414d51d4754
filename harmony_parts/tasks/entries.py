"""Plans of one entry per clip."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from harmony_parts.av import AV, STREAMS, Times
from harmony_parts.tasks.protocol import Plan, TimeDraw


def draw_each(draw: TimeDraw, generators: Sequence[torch.Generator]) -> AV[Tensor]:
    """Times of one clip from each generator."""
    first, *others = (draw(1, generator) for generator in generators)
    return first.map(lambda *times: torch.cat(times), *others)


def one_per_clip(
    task: str, times: AV[Tensor], latents: AV[int], given: Collection[str] = ()
) -> Plan:
    """One entry per clip: streams in `given` are clean, the others noisy, with weight 1.

    `times` float32 [n] per stream are those of all its latents if it is noisy.
    """
    clip = torch.arange(len(times[next(iter(times))]))

    def at(time: Tensor, length: int, stream: str) -> Times:
        return Times.uniform(torch.zeros_like(time) if stream in given else time, length)

    def weight(time: Tensor, _: int, stream: str) -> Tensor:
        return torch.full_like(time, stream not in given)

    streams = AV(*STREAMS)
    return Plan(
        source=clip,
        times=times.map(at, latents, streams),
        weights=times.map(weight, latents, streams),
        task=torch.zeros_like(clip),
        names=(task,),
    )
