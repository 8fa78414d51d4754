"""Combining several plans into one."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import torch
from torch import Tensor

from harmony_parts.av import AV, Times
from harmony_parts.errors import PartContractError
from harmony_parts.tasks.protocol import Plan, PlansTogether, Task, TimeDraw


def weigh(plan: Plan, weight: float, clips: Tensor | None = None) -> Plan:
    """`plan` with all loss weights multiplied by `weight`.

    If `clips` [n] is given, the plan's clip i becomes clip `clips[i]`.
    """
    return Plan(
        source=plan.source if clips is None else clips[plan.source],
        times=plan.times,
        weights=plan.weights.map(lambda w: w * weight),
        task=plan.task,
        names=plan.names,
    )


def pack(plans: Sequence[Plan]) -> Plan:
    """The entries of all plans, concatenated; tasks with equal names are merged.

    Raises PartContractError if the plans have different streams.
    """
    if len(plans) == 1:
        return plans[0]
    streams = {tuple(plan.times) for plan in plans}
    if len(streams) > 1:
        every = " and ".join(
            ", ".join(
                sorted({name for plan in plans for name in plan.names if tuple(plan.times) == s})
            )
            for s in streams
        )
        raise PartContractError(
            f"the tasks {every} can't share a batch, because their streams differ: train them one"
            " after the other"
        )
    names = tuple(dict.fromkeys(name for plan in plans for name in plan.names))

    def cat(*parts: Tensor) -> Tensor:
        return torch.cat(parts)

    return Plan(
        source=cat(*(plan.source for plan in plans)),
        times=plans[0].times.map(
            lambda *each: Times.cat(each), *(plan.times for plan in plans[1:])
        ),
        weights=plans[0].weights.map(cat, *(plan.weights for plan in plans[1:])),
        task=cat(*(_renumbered(plan, names) for plan in plans)),
        names=names,
    )


def plan_each(
    task: Task, draw: TimeDraw, generators: Sequence[torch.Generator], latents: AV[int]
) -> Plan:
    """The plans of clips with a generator each, as the plan of a batch (see `PlansTogether`)."""
    if isinstance(task, PlansTogether):
        return task.plan_each(draw, generators, latents)
    plans = [task.plan(1, draw, generator, latents) for generator in generators]
    return pack([attrs.evolve(plan, source=plan.source + i) for i, plan in enumerate(plans)])


def by_clip(plan: Plan) -> Plan:
    """The same entries in the order of clips; those of a clip keep theirs."""
    order = plan.source.argsort(stable=True)
    return Plan(
        source=plan.source[order],
        times=plan.times.map(lambda times: times.rows(order)),
        weights=plan.weights.map(lambda weights: weights[order]),
        task=plan.task[order],
        names=plan.names,
    )


def _renumbered(plan: Plan, names: tuple[str, ...]) -> Tensor:
    """The plan's `task` as indices into `names`."""
    if plan.names == names[: len(plan.names)]:
        return plan.task
    return plan.task.new_tensor([names.index(name) for name in plan.names])[plan.task]
