"""Contract checks of tasks."""

from __future__ import annotations

import torch
from torch import Tensor

from harmony_parts.tasks.protocol import Task
from harmony_parts.testing.contracts.require import check_value, generator, own_randomness, require


def check_task(task: Task) -> None:
    """Plans with the right shapes and dtypes, with losses only for noisy streams.

    Equal generator states must give equal plans.
    """
    check_value(task)

    def draw(n: int, generator: torch.Generator) -> Tensor:
        # never 0, so that a time of 0 in a plan means a clean stream
        return torch.rand(n, generator=generator) * 0.9 + 0.1

    for n in (0, 1, 2, 17):
        with own_randomness(task):
            plan = task.plan(n, draw, generator())
        m = len(plan.source)
        require(
            plan.source.dtype == torch.long and plan.source.shape == (m,),
            task,
            "return an int64 source [M]",
        )
        require(
            ((plan.source >= 0) & (plan.source < n)).all(),
            task,
            f"take all entries from the {n} clips",
        )
        streams = tuple(plan.times)
        require(
            streams and streams == tuple(plan.weights),
            task,
            "return times and weights of the same streams, at least one",
        )
        require(
            plan.task.dtype == torch.long and plan.task.shape == (m,),
            task,
            "return an int64 task [M]",
        )
        require(
            ((plan.task >= 0) & (plan.task < len(plan.names))).all(),
            task,
            "return indices into names as task",
        )
        require(
            len(set(plan.names)) == len(plan.names),
            task,
            f"return unique names; it returned {plan.names}",
        )
        for stream in plan.times:
            t, weight = plan.times[stream], plan.weights[stream]
            typed = t.dtype == weight.dtype == torch.float32 and t.shape == weight.shape == (m,)
            require(typed, task, "return float32 times and weights [M]")
            require(((t >= 0) & (t <= 1)).all(), task, "return times in [0, 1]")
            require(
                (torch.isfinite(weight) & (weight >= 0)).all(),
                task,
                "return finite weights of at least 0",
            )
            require(
                (weight[t == 0] == 0).all(),
                task,
                f"have weight 0 for {stream} at time 0, where there is no velocity",
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
        require(all(same), task, "return the same plan for the same generator state")
    require(
        any((plan.weights[stream] > 0).any() for stream in plan.weights),
        task,
        "have a weight above 0 in 17 clips",
    )
