"""Contract checks of tasks."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from harmony_parts.av import AV, STREAMS, Times
from harmony_parts.tasks.protocol import Plan, PlansTogether, Task
from harmony_parts.testing.contracts.require import (
    check_value,
    generator,
    no_global_randomness,
    require,
)

LATENTS = AV(5, 11)  # in time, of both streams


def check_task(task: Task) -> None:
    """Plans with the right shapes and dtypes, with losses only for streams with noisy latents.

    Equal generator states must give equal plans; a batch of one stream, or of one latent per
    stream, is planned too.
    """
    check_value(task)
    cases = [(n, LATENTS) for n in (2, 0, 1, 17)]
    for n, latents in [(3, AV(1, 1)), *((3, LATENTS.only((s,))) for s in STREAMS), *cases]:
        with no_global_randomness(task):
            plan = task.plan(n, _draw, generator(), latents)
        require(isinstance(plan, Plan), task, f"return a Plan, not a {type(plan).__name__}")
        _check_entries(task, plan, n, latents)
        for stream in plan.times:
            _check_times(task, plan.times[stream], len(plan.source), latents[stream])
            _check_weights(task, stream, plan.times[stream], plan.weights[stream])
        again = task.plan(n, _draw, generator(), latents)
        require(_equal(plan, again), task, "return the same plan for the same generator state")
    if isinstance(task, PlansTogether):
        _check_together(task)
    learns = any((plan.weights[stream] > 0).any() for stream in plan.weights)
    require(learns, task, "have a weight above 0 in 17 clips")


def _check_together(task: Task) -> None:
    """Clips that are planned together have the plans that they have alone."""
    together = cast("PlansTogether", task)
    seeds = range(7)
    plan = together.plan_each(_draw, [torch.Generator().manual_seed(k) for k in seeds], LATENTS)
    for k in seeds:
        alone = task.plan(1, _draw, torch.Generator().manual_seed(k), LATENTS)
        rows = (plan.source == k).nonzero()[:, 0]
        named = [plan.names[number] for number in plan.task[rows].tolist()]
        same = named == [alone.names[number] for number in alone.task.tolist()] and all(
            torch.equal(plan.times[s].rows(rows).per_latent(), alone.times[s].per_latent())
            and torch.equal(plan.weights[s][rows], alone.weights[s])
            for s in alone.times
        )
        require(same, task, "plan each clip as alone in `plan_each`")
    ordered = torch.equal(plan.source, plan.source.sort().values)
    require(ordered, task, "keep the order of clips in `plan_each`")


def _draw(n: int, generator: torch.Generator) -> AV[Tensor]:
    # never 0, so that a time of 0 in a plan means a clean stream; different in the two streams
    t = torch.rand(n, generator=generator) * 0.9 + 0.1
    return AV(t, t.square())


def _check_entries(task: Task, plan: Plan, n: int, latents: AV[int]) -> None:
    """The clips and tasks of a plan's entries, and its streams."""
    m, names = len(plan.source), plan.names
    typed = plan.source.dtype == torch.long and plan.source.shape == (m,)
    require(typed, task, "return an int64 source [M]")
    in_batch = ((plan.source >= 0) & (plan.source < n)).all()
    require(in_batch, task, f"take all entries from the {n} clips")
    streams = tuple(plan.times)
    matched = streams == tuple(plan.weights) and (streams or latents is not LATENTS)
    require(matched, task, "return times and weights of the same streams, at least one")
    present = set(streams) <= set(latents)
    require(present, task, f"plan no stream but those of `latents`: {', '.join(latents)}")
    typed = plan.task.dtype == torch.long and plan.task.shape == (m,)
    require(typed, task, "return an int64 task [M]")
    named = ((plan.task >= 0) & (plan.task < len(names))).all()
    require(named, task, "return indices into names as task")
    require(len(set(names)) == len(names), task, f"return unique names; it returned {names}")


def _check_times(task: Task, times: Times, m: int, length: int) -> None:
    """The times of one stream."""
    require(isinstance(times, Times), task, f"return Times of each stream, not {times!r:.80}")
    values, index = times.values, times.index
    typed = values.dtype == torch.float32 and values.ndim == 2 and len(values) == m
    require(typed, task, "return times with float32 values [M, U]")
    typed = index.dtype == torch.long and index.shape == (m, length)
    require(typed, task, f"return times with an int64 index [M, {length}], one per latent")
    inside = ((index >= 0) & (index < values.shape[1])).all()
    require(inside, task, "return an index of times from 0 to U - 1")
    t = times.per_latent()
    require(((t >= 0) & (t <= 1)).all(), task, "return times in [0, 1]")


def _check_weights(task: Task, stream: str, times: Times, weight: Tensor) -> None:
    """The weights of one stream."""
    typed = weight.dtype == torch.float32 and weight.shape == (len(times.values),)
    require(typed, task, "return float32 weights [M]")
    valid = (torch.isfinite(weight) & (weight >= 0)).all()
    require(valid, task, "return finite weights of at least 0")
    require(
        (weight[(times.per_latent() == 0).all(1)] == 0).all(),
        task,
        f"have weight 0 for {stream} at time 0, where there is no velocity",
    )


def _equal(a: Plan, b: Plan) -> bool:
    return (
        torch.equal(a.source, b.source)
        and torch.equal(a.task, b.task)
        and a.names == b.names
        and all(torch.equal(a.times[s].per_latent(), b.times[s].per_latent()) for s in a.times)
        and all(torch.equal(a.weights[s], b.weights[s]) for s in a.times)
    )
