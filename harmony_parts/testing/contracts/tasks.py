"""Contract checks of tasks."""

from __future__ import annotations

import torch
from torch import Tensor

from harmony_parts.tasks.protocol import Task
from harmony_parts.testing.contracts.require import check_value, generator, own_randomness, require


def check_task(task: Task) -> None:
    """Plans of the right shapes and types, which learn only what is noisy, and the same from the
    same generator state.
    """
    check_value(task)

    def draw(n: int, generator: torch.Generator) -> Tensor:
        # Never 0, so that a time of 0 in a plan means clean.
        return torch.rand(n, generator=generator) * 0.9 + 0.1

    for n in (0, 1, 2, 17):
        with own_randomness(task):
            plan = task.plan(n, draw, generator())
        m = len(plan.source)
        require(
            plan.source.dtype == torch.long and plan.source.shape == (m,),
            task,
            "plan an int64 source [M]",
        )
        require(
            ((plan.source >= 0) & (plan.source < n)).all(),
            task,
            f"take its entries from the {n} clips",
        )
        streams = tuple(plan.times)
        require(
            streams and streams == tuple(plan.weights),
            task,
            "have times and weights for the same streams, at least one",
        )
        require(
            plan.task.dtype == torch.long and plan.task.shape == (m,),
            task,
            "plan an int64 task [M]",
        )
        require(
            ((plan.task >= 0) & (plan.task < len(plan.names))).all(),
            task,
            "number its tasks by their place in names",
        )
        require(
            len(set(plan.names)) == len(plan.names),
            task,
            f"have each name once; it has {plan.names}",
        )
        for stream in plan.times:
            t, weight = plan.times[stream], plan.weights[stream]
            typed = t.dtype == weight.dtype == torch.float32 and t.shape == weight.shape == (m,)
            require(typed, task, "plan float32 times and weights [M]")
            require(((t >= 0) & (t <= 1)).all(), task, "plan times in [0, 1]")
            require(
                (torch.isfinite(weight) & (weight >= 0)).all(),
                task,
                "weigh losses with finite numbers of at least 0",
            )
            require(
                (weight[t == 0] == 0).all(),
                task,
                f"have no loss for {stream} where it is clean: there is no velocity at time 0",
            )
        again = task.plan(n, draw, generator())
        same = [
            torch.equal(plan.source, again.source),
            torch.equal(plan.task, again.task),
            plan.names == again.names,
        ]
        same += [
            torch.equal(a[s], b[s])
            for a, b in ((plan.times, again.times), (plan.weights, again.weights))
            for s in plan.times
        ]
        require(all(same), task, "plan the same from the same generator state")
    require(
        any((plan.weights[stream] > 0).any() for stream in plan.weights),
        task,
        "have something to learn in 17 clips",
    )
