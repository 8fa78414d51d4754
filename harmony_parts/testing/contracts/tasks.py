"""Contract checks of tasks."""

from __future__ import annotations

import torch
from torch import Tensor

from harmony_parts.av import AV
from harmony_parts.tasks.protocol import Plan, Task
from harmony_parts.testing.contracts.require import (
    check_value,
    generator,
    no_global_randomness,
    require,
)


def check_task(task: Task) -> None:
    """Plans with the right shapes and dtypes, with losses only for noisy streams.

    Equal generator states must give equal plans.
    """
    check_value(task)
    for n in (0, 1, 2, 17):
        with no_global_randomness(task):
            plan = task.plan(n, _draw, generator())
        _check_entries(task, plan, n)
        for stream in plan.times:
            _check_stream(task, stream, plan.times[stream], plan.weights[stream], len(plan.source))
        again = task.plan(n, _draw, generator())
        require(_equal(plan, again), task, "return the same plan for the same generator state")
    learns = any((plan.weights[stream] > 0).any() for stream in plan.weights)
    require(learns, task, "have a weight above 0 in 17 clips")


def _draw(n: int, generator: torch.Generator) -> AV[Tensor]:
    # never 0, so that a time of 0 in a plan means a clean stream; different in the two streams
    t = torch.rand(n, generator=generator) * 0.9 + 0.1
    return AV(t, t.square())


def _check_entries(task: Task, plan: Plan, n: int) -> None:
    """The clips and tasks of a plan's entries, and its streams."""
    m, names = len(plan.source), plan.names
    typed = plan.source.dtype == torch.long and plan.source.shape == (m,)
    require(typed, task, "return an int64 source [M]")
    in_batch = ((plan.source >= 0) & (plan.source < n)).all()
    require(in_batch, task, f"take all entries from the {n} clips")
    streams = tuple(plan.times)
    matched = streams and streams == tuple(plan.weights)
    require(matched, task, "return times and weights of the same streams, at least one")
    typed = plan.task.dtype == torch.long and plan.task.shape == (m,)
    require(typed, task, "return an int64 task [M]")
    named = ((plan.task >= 0) & (plan.task < len(names))).all()
    require(named, task, "return indices into names as task")
    require(len(set(names)) == len(names), task, f"return unique names; it returned {names}")


def _check_stream(task: Task, stream: str, t: Tensor, weight: Tensor, m: int) -> None:
    """The times and weights of one stream."""
    typed = t.dtype == weight.dtype == torch.float32 and t.shape == weight.shape == (m,)
    require(typed, task, "return float32 times and weights [M]")
    require(((t >= 0) & (t <= 1)).all(), task, "return times in [0, 1]")
    valid = (torch.isfinite(weight) & (weight >= 0)).all()
    require(valid, task, "return finite weights of at least 0")
    require(
        (weight[t == 0] == 0).all(),
        task,
        f"have weight 0 for {stream} at time 0, where there is no velocity",
    )


def _equal(a: Plan, b: Plan) -> bool:
    return (
        torch.equal(a.source, b.source)
        and torch.equal(a.task, b.task)
        and a.names == b.names
        and all(torch.equal(a.times[s], b.times[s]) for s in a.times)
        and all(torch.equal(a.weights[s], b.weights[s]) for s in a.times)
    )
