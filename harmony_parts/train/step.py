"""One training step: draw clips, plan tasks and times, add noise, predict, update weights."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import torch
from torch import Tensor

from harmony_parts.assembly.recipe import Recipe
from harmony_parts.denoisers.protocol import REFERENCE_AUDIO, DetachesClean
from harmony_parts.errors import RunError
from harmony_parts.latents.sources import Batch
from harmony_parts.latents.stream import BatchStream
from harmony_parts.layers.precision import float32_products
from harmony_parts.tasks.packing import plan_each
from harmony_parts.tasks.protocol import Plan
from harmony_parts.train.chance import (
    draw_noise,
    drop_conditions,
    sample_generators,
)
from harmony_parts.train.objective import Losses, losses, packed
from harmony_parts.train.precision import autocast
from harmony_parts.train.state import TrainingState


def draw_batch(state: TrainingState, batches: BatchStream) -> Batch:
    """The next batch. If that fails, the state is as before, so it can be saved.

    Raises whatever the source of the batches raises; RunError if it raises that in another process.
    """
    strategy, fetched, after, fault = state.strategy, None, state.place, None
    try:
        fetched, after = batches.fetch(state.place)
    except Exception as error:
        fault = error
    # encoders may be divided between the processes: all of them run, or none
    if not strategy.agree(fault is None):
        faults = strategy.gather("" if fault is None else str(fault) or type(fault).__name__)
        rank = next(rank for rank, text in enumerate(faults) if text)
        raise fault or RunError(f"process {rank}: {faults[rank]}")
    state.seed_modules()
    batch = batches.batch(fetched)
    state.place = after
    return batch


@attrs.frozen(eq=False)
class Drawn:
    """What was drawn for a batch, and the errors of its entries, per stream that was read."""

    plan: Plan
    losses: Losses


def draw_losses(
    state: TrainingState, batch: Batch, recipe: Recipe, step: int, drop: Mapping[str, float]
) -> Drawn:
    """The losses of a batch's clips with the draws of `step`, in the run's precision."""
    flow = recipe.flow
    rows = range(batch.first, batch.first + len(batch.names))
    samples = sample_generators(recipe.train.seed, step, rows)
    lengths = batch.latents.map(lambda x: x.shape[1])
    plan = plan_each(recipe.task, flow.draw, samples, lengths)
    conditions = drop_conditions(packed(batch.conditions, plan), drop, plan, samples)
    noise = draw_noise(batch.latents, plan, samples)

    denoiser = state.modules["denoiser"]

    def denoise(*given: Any, **more: Any) -> Any:
        with autocast(recipe.train.precision, state.device):
            return denoiser(*given, **more)

    result = losses(
        denoise,
        batch.latents,
        noise,
        conditions,
        plan,
        flow.path,
        read=state.read,
        apart=isinstance(denoiser, DetachesClean) and denoiser.detach_clean,
    )
    return Drawn(plan, result)


def micro_batches(batch: Batch, size: int) -> Iterator[Batch]:
    """The batch in parts of at most `size` clips; 0: as a whole."""
    n = len(batch.names)
    if not 0 < size < n:
        yield batch
        return
    for begin in range(0, n, size):
        rows = slice(begin, min(begin + size, n))
        index = torch.arange(rows.start, rows.stop)
        yield attrs.evolve(
            batch,
            latents=batch.latents.map(lambda x, rows=rows: x[rows]),
            conditions={
                name: c.rows(index.to(c.tokens.device)) for name, c in batch.conditions.items()
            },
            names=batch.names[rows],
            first=batch.first + begin,
        )


def train_step(state: TrainingState, batch: Batch, recipe: Recipe) -> float:
    """One optimizer step on a batch, part by part; returns the mean loss of its clips.

    Raises RunError, with the weights untouched, if the loss or a gradient isn't finite.
    """
    with float32_products(tf32=recipe.train.precision == "tf32"):
        return _step(state, batch, recipe)


def _step(state: TrainingState, batch: Batch, recipe: Recipe) -> float:
    settings, step = recipe.train, state.step + 1
    state.optimizer.zero_grad(set_to_none=True)
    parts = list(micro_batches(batch, settings.micro_batch))
    total, plans, errors = torch.zeros((), device=state.device), [], []
    for number, part in enumerate(parts):
        drawn = draw_losses(state, part, recipe, step, settings.drop)
        # processes that share clips minimise a part of their loss each
        share = drawn.losses.total * (len(part.names) / batch.total / state.strategy.seq)
        if share.requires_grad:
            # the parts share the graph of the trainable encoders
            share.backward(retain_graph=number + 1 < len(parts))
        total += share.detach()
        plans.append(drawn.plan)
        errors.append(drawn.losses.entries.map(Tensor.detach))
    total = state.strategy.sum(total)
    norm = state.strategy.clip(state.trained.values(), settings.clip)

    # one transfer to the host for all numbers
    missing = _without_reference(batch, state.modules["denoiser"])
    three = torch.stack([x.to(total) for x in (total, norm, missing)])
    numbers = torch.cat([three, *(some[s] for some in errors for s in some)]).tolist()
    place = 3
    entries: list[dict[str, list[float]]] = []
    for plan, some in zip(plans, errors, strict=True):
        entries.append({})
        for stream in some:
            entries[-1][stream] = numbers[place : place + len(plan.source)]
            place += len(plan.source)
    if not all(map(math.isfinite, numbers)):
        own = next(filter(None, map(_cause, parts, plans, entries)), "")
        # a sum over all processes isn't finite: the clip may be another one's
        cause = next(filter(None, state.strategy.gather(own)), "")
        cause = cause or _elsewhere(state, batch, plans[0])
        raise RunError(f"step {step}: {cause}; {_remedy(recipe)}")

    factor = settings.schedule.factor(step, settings.steps)
    for group, rate in zip(state.optimizer.param_groups, state.rates, strict=True):
        group["lr"] = rate * factor
    state.optimizer.step()
    state.step = step
    if state.ema is not None:
        state.ema.update(state.trained, state.step)
    rate = state.rates[0] * factor
    state.means.add(numbers[0], numbers[1], rate)
    state.means.without_reference += int(numbers[2])
    for plan, found in zip(plans, entries, strict=True):
        state.means.add_entries(plan, found)
    return float(numbers[0])


def _without_reference(batch: Batch, denoiser: Any) -> Tensor:
    """How many clips of a batch came from the data set without the reference audio it can have."""
    found = [
        batch.conditions[name].mask.any(1)
        for name, port in denoiser.accepts.items()
        if port == REFERENCE_AUDIO
    ]
    return sum(((~has).sum() for has in found), torch.zeros(()))


def _cause(batch: Batch, plan: Plan, entries: Mapping[str, list[float]]) -> str:
    """The entry of the plan whose loss isn't finite, "" if there is none."""
    for stream, errors in entries.items():
        for m, error in enumerate(errors):
            if not math.isfinite(error):
                task, clip = plan.names[int(plan.task[m])], batch.names[int(plan.source[m])]
                t = float(plan.times[stream].per_latent()[m].max())
                return f"the loss is {error}: task {task}, {stream}, clip {clip}, time {t:.4f}"
    return ""


def _elsewhere(state: TrainingState, batch: Batch, plan: Plan) -> str:
    """The gradient that isn't finite, or only a sum."""
    bad = [
        name
        for name, p in state.trained.items()
        if p.grad is not None and not bool(p.grad.isfinite().all())
    ]
    what = (
        f"the gradient of {', '.join(bad[:3])} isn't finite"
        if bad
        else "the sum of the loss or of the gradient isn't finite"
    )
    return f"{what}: tasks {', '.join(plan.names)}, clips {', '.join(batch.names)}"


def _remedy(recipe: Recipe) -> str:
    return (
        "look at that clip, or lower the learning rate (train.optimizer) or"
        f" train.clip ({recipe.train.clip:g}); the last checkpoint is untouched"
    )
