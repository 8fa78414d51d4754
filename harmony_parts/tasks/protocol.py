"""A task: which latents of a sample are clean, their times, the loss weight of each stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import attrs
import torch
from torch import Tensor

from harmony_parts.av import AV, Times

TimeDraw = Callable[[int, torch.Generator], AV[Tensor]]
"""`draw(n, generator)` -> float32 [n] per stream: training times, one draw per clip, moved by the
shift of each stream. So (t_video, t_audio) of a clip lies on the curve that sampling follows.
"""


@attrs.frozen(eq=False)
class Plan:
    """What to compute for a batch of n clips: M entries, packed into one batch for all tasks.

    - `source` int64 [M]: the clip of each entry.
    - `times` per stream, with float32 values [M, U]: 0 for clean latents, which have no loss.
    - `weights` float32 [M] per stream: the weight of the mean squared error of its latents at times
      above 0; 0 for no loss.
    - `task` int64 [M]: index into `names`, for the log.

    The loss of a batch is `sum_m sum_s weights[s][m] * mse[s][m] / n`, so a weighted sum of tasks
    and tasks sampled with the weight lambda_k / p_k have the same expectation. A stream that is
    absent from `times` is absent from the whole batch.
    """

    source: Tensor
    times: AV[Times]
    weights: AV[Tensor]
    task: Tensor
    names: tuple[str, ...]


TASKS: Mapping[str, tuple[str, ...]] = {
    "joint": (),
    "audio-driven": ("audio",),
    "video-driven": ("video",),
}
"""Name of a sampling task -> the streams that are given; the others are generated."""


class Task(Protocol):
    """A stateless part, which is its own spec."""

    def plan(self, n: int, draw: TimeDraw, generator: torch.Generator, latents: AV[int]) -> Plan:
        """The plan for `n` clips, whose streams have `latents` latents in time.

        It has streams of `latents`, and no others. Equal generator states give equal plans.
        """


@runtime_checkable
class PlansTogether(Protocol):
    """A task that plans clips with a generator each at once: training needs that in every step."""

    def plan_each(
        self, draw: TimeDraw, generators: Sequence[torch.Generator], latents: AV[int]
    ) -> Plan:
        """The entries of `plan(1, draw, g, latents)` of each generator g, bit for bit.

        Clip i is that of generator i; the entries of a clip follow one another, in order of clips.
        """
