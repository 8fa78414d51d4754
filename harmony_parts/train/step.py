"""One training step: draw clips, plan tasks and times, add noise, predict, update weights."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from harmony_parts.assembly.recipe import Recipe
from harmony_parts.denoisers.protocol import REFERENCE_AUDIO
from harmony_parts.errors import RunError
from harmony_parts.latents.sources import Batch
from harmony_parts.latents.stream import BatchStream
from harmony_parts.tasks.protocol import Plan
from harmony_parts.train.chance import (
    draw_noise,
    drop_conditions,
    plan_samples,
    sample_generators,
)
from harmony_parts.train.objective import losses, packed
from harmony_parts.train.state import TrainingState


def draw_batch(state: TrainingState, batches: BatchStream) -> Batch:
    """The next batch. If that fails, the state is as before, so it can be saved.

    Raises whatever the source of the batches raises.
    """
    before = state.random_state()
    try:
        batch, state.place = batches.batch(state.place)
    except Exception:
        state.set_random_state(before)  # trainable encoders may draw from the global generator
        raise
    return batch


def train_step(state: TrainingState, batch: Batch, recipe: Recipe) -> float:
    """One optimizer step on a batch; returns its loss.

    Raises RunError, with the weights untouched, if the loss or a gradient isn't finite.
    """
    settings, flow, denoiser = recipe.train, recipe.flow, state.modules["denoiser"]
    rows = range(batch.first, batch.first + len(batch.names))
    samples = sample_generators(settings.seed, state.step + 1, rows)
    lengths = batch.latents.map(lambda x: x.shape[1])
    plan = plan_samples(recipe.task, flow.draw, samples, lengths)
    conditions = drop_conditions(packed(batch.conditions, plan), settings.drop, plan, samples)
    noise = draw_noise(batch.latents, plan, samples)
    result = losses(denoiser, batch.latents, noise, conditions, plan, flow.path, read=state.read)

    state.optimizer.zero_grad(set_to_none=True)
    if result.total.requires_grad:
        result.total.backward()
    norm = state.strategy.clip(state.trained.values(), settings.clip)

    # one transfer to the host for all numbers
    missing = _without_reference(batch, denoiser)
    three = torch.stack([x.to(result.total) for x in (result.total.detach(), norm, missing)])
    numbers = torch.cat([three, *(result.entries[s].detach() for s in result.entries)]).tolist()
    entries = dict(zip(result.entries, _split(numbers[3:], len(plan.source)), strict=True))
    if not all(map(math.isfinite, numbers)):
        raise RunError(
            f"step {state.step + 1}: {_cause(state, batch, plan, entries)}; {_remedy(recipe)}"
        )

    factor = settings.schedule.factor(state.step + 1, settings.steps)
    for group, rate in zip(state.optimizer.param_groups, state.rates, strict=True):
        group["lr"] = rate * factor
    state.optimizer.step()
    state.step += 1
    if state.ema is not None:
        state.ema.update(state.trained, state.step)
    rate = state.rates[0] * factor
    state.means.add(numbers[0], numbers[1], rate, plan, entries)
    state.means.without_reference += int(numbers[2])
    return float(numbers[0])


def _without_reference(batch: Batch, denoiser: Any) -> Tensor:
    """How many clips of a batch came from the data set without the reference audio it can have."""
    found = [
        batch.conditions[name].mask.any(1)
        for name, port in denoiser.accepts.items()
        if port == REFERENCE_AUDIO
    ]
    return sum(((~has).sum() for has in found), torch.zeros(()))


def _cause(state: TrainingState, batch: Batch, plan: Plan, entries: dict[str, list[float]]) -> str:
    """What isn't finite: the loss of one entry of the plan, a gradient, or only a sum."""
    for stream, errors in entries.items():
        for m, error in enumerate(errors):
            if not math.isfinite(error):
                task, clip = plan.names[int(plan.task[m])], batch.names[int(plan.source[m])]
                t = float(plan.times[stream].per_latent()[m].max())
                return f"the loss is {error}: task {task}, {stream}, clip {clip}, time {t:.4f}"
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


def _split(numbers: list[float], size: int) -> list[list[float]]:
    return [numbers[i : i + size] for i in range(0, len(numbers), size)]
