"""The loss of a batch: one run of the denoiser over all entries of a plan, for any task."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor

from harmony_parts.av import AV, STREAMS, Condition, Conditions, Times
from harmony_parts.flow.protocol import Path
from harmony_parts.tasks.protocol import Plan


@attrs.frozen(eq=False)
class Losses:
    """`total` is minimised; `entries` [M], per stream that was read, are unweighted errors.

    An entry's error is the mean squared error of its velocity over the latents at times above 0.
    """

    total: Tensor
    entries: AV[Tensor]


def packed(conditions: Conditions, plan: Plan) -> dict[str, Condition]:
    """The conditions of n clips, repeated for the M entries of a plan."""
    return {
        name: condition.rows(plan.source.to(condition.tokens.device))
        for name, condition in conditions.items()
    }


def losses(
    denoiser: Any,
    latents: AV[Tensor],
    noise: AV[Tensor],
    conditions: Conditions,
    plan: Plan,
    path: Path,
    *,
    read: Collection[str] = STREAMS,
    apart: bool = False,
) -> Losses:
    """sum_m sum_s weights[s][m] |v_s[m] - v^_s[m]|^2 / n, |.|^2 the mean over a stream's latents
    at times above 0 (cross-task synergy, arXiv:2511.21579; `Plan`).

    `latents` [n, ...] belong to the clips, `noise` [M, ...] and `conditions` to the plan's M
    entries. The streams in `read` that the plan has are read, even if all their weights happen to
    be 0: processes that train together must read the same streams. A latent at time 0 is exactly
    its data. With `apart`, if every clip has entries of every task, the tasks are run one after the
    other: a number of runs that all processes share.
    """
    clean: AV[Tensor] = latents.map(
        lambda x, _: x.index_select(0, plan.source.to(x.device)), plan.times
    )
    times: AV[Times] = plan.times.map(Times.to, clean)
    # [M, T, 1, ...]
    each: AV[Tensor] = times.map(
        lambda t, x: t.per_latent().view(*x.shape[:2], *(1,) * (x.ndim - 2)), clean
    )
    x_t: AV[Tensor] = clean.map(
        lambda x, n, t: torch.where(t == 0, x, path.interpolate(x, n, t)), noise, each
    )
    streams = tuple(s for s in clean if s in read and s in tuple(plan.weights))
    groups = _tasks_apart(plan, len(latents[streams[0]])) if apart else []
    velocity = _velocities(denoiser, x_t, times, conditions, streams, groups)

    def error(x: Tensor, v: Tensor, n: Tensor, t: Tensor) -> Tensor:
        squares = torch.where(t > 0, (v - path.velocity(x, n, t)).square(), 0)
        count = (t > 0).flatten(1).sum(1) * x[0, 0].numel()
        return squares.flatten(1).sum(1) / count.clamp(min=1)

    entries: AV[Tensor] = clean.only(streams).map(error, velocity, noise, each)
    shares = [(entries[s] * plan.weights[s].to(entries[s])).sum() for s in entries]
    return Losses(torch.stack(shares).sum() / len(latents[streams[0]]), entries)


def _tasks_apart(plan: Plan, clips: int) -> list[Tensor]:
    """The entries of each task if all clips have all of them; none, for one run, otherwise."""
    count = plan.task.bincount(minlength=len(plan.names))
    if not (count == clips).all():
        return []
    return [(plan.task == task).nonzero()[:, 0] for task in range(len(plan.names))]


def _velocities(
    denoiser: Any,
    x_t: AV[Tensor],
    times: AV[Times],
    conditions: Conditions,
    read: Collection[str],
    groups: Sequence[Tensor],
) -> AV[Tensor]:
    """The velocities of all entries, in one run or in one for each group of them."""
    if len(groups) < 2:
        whole: AV[Tensor] = denoiser(x_t, times, conditions, read=read)
        return whole
    runs = [
        denoiser(
            x_t.map(lambda x, rows=rows: x[rows.to(x.device)]),
            times.map(lambda t, rows=rows: t.rows(rows.to(t.values.device))),
            {name: c.rows(rows.to(c.tokens.device)) for name, c in conditions.items()},
            read=read,
        )
        for rows in groups
    ]
    order = torch.cat(tuple(groups)).argsort()
    return runs[0].map(lambda *parts: torch.cat(parts)[order.to(parts[0].device)], *runs[1:])
