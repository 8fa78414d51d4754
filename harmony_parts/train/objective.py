"""The loss of a batch: one run of the denoiser over all entries of a plan, for any task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import torch
from torch import Tensor

from harmony_parts.av import AV, Condition, Conditions, Times
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


def dropped(
    conditions: Conditions, probabilities: Mapping[str, float], generator: torch.Generator
) -> dict[str, Condition]:
    """The conditions, each entry's `name` in its null form with `probabilities[name]`.

    An entry's conditions are dropped independently of each other.
    """
    result = dict(conditions)
    for name in sorted(probabilities):
        condition = result[name]
        rows = torch.rand(len(condition.tokens), generator=generator) < probabilities[name]
        if rows.any():
            result[name] = condition.drop_rows(rows.to(condition.tokens.device))
    return result


def noise_for(latents: AV[Tensor], plan: Plan, generator: torch.Generator) -> AV[Tensor]:
    """Normal noise [M, ...] for each entry and stream of a plan; clean latents ignore theirs.

    The tasks of one clip have noise of their own, as they have times of their own: each loss of the
    paper's sum is an expectation over noise by itself, so the sum's expectation is the same as with
    one noise for all, and more noise is seen per clip. It is drawn on the CPU, so that every
    machine gets the same numbers.
    """
    m = len(plan.source)

    def draw(x: Tensor, _: Times) -> Tensor:
        return torch.randn(m, *x.shape[1:], generator=generator, dtype=x.dtype).to(x.device)

    return latents.map(draw, plan.times)


def losses(
    denoiser: Any,
    latents: AV[Tensor],
    noise: AV[Tensor],
    conditions: Conditions,
    plan: Plan,
    path: Path,
) -> Losses:
    """sum_m sum_s weights[s][m] |v_s[m] - v^_s[m]|^2 / n, |.|^2 the mean over a stream's latents
    at times above 0 (cross-task synergy, arXiv:2511.21579; `Plan`).

    `latents` [n, ...] belong to the clips, `noise` [M, ...] and `conditions` to the plan's M
    entries. Streams whose weights are all 0 aren't read; a latent at time 0 is exactly its data.
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
    read = tuple(
        stream
        for stream in clean
        if stream in tuple(plan.weights) and bool(plan.weights[stream].any())
    )
    if not read:  # every clip happened to draw a task of weight 0
        return Losses(next(clean[s] for s in clean).new_zeros(()), AV())
    velocity: AV[Tensor] = denoiser(x_t, times, conditions, read=read)

    def error(x: Tensor, v: Tensor, n: Tensor, t: Tensor) -> Tensor:
        squares = torch.where(t > 0, (v - path.velocity(x, n, t)).square(), 0)
        count = (t > 0).flatten(1).sum(1) * x[0, 0].numel()
        return squares.flatten(1).sum(1) / count.clamp(min=1)

    entries: AV[Tensor] = clean.only(read).map(error, velocity, noise, each)
    shares = [(entries[s] * plan.weights[s].to(entries[s])).sum() for s in entries]
    return Losses(torch.stack(shares).sum() / len(latents[read[0]]), entries)
