"""The model of a run: built, given its initial weights, and put on the device."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from harmony_parts.assembly.build import Parts, build
from harmony_parts.assembly.recipe import Recipe
from harmony_parts.av import AV
from harmony_parts.errors import AssemblyError
from harmony_parts.latents.conditions import is_frozen
from harmony_parts.models.folder import load_weights, saved_modules
from harmony_parts.models.hub import locate_model
from harmony_parts.models.offload import move_weights

PROBE = 64  # clips that a task plans for the check before the first step


def build_model(recipe: Recipe, device: torch.device, start: str | Path | None = None) -> Parts:
    """The recipe's parts, with what is trained on `device`; `start` gives the initial weights.

    Raises AssemblyError if the recipe can't be built or its task trains nothing in this model,
    RunError if `start` has no weights for it.
    """
    parts = build(recipe, recipe.train.seed, empty=() if start is None else ("denoiser",))
    check_task(recipe, parts.lengths())
    if start is not None:
        load_weights(parts, locate_model(start), device=device, dtype=torch.float32)
    saved_modules(parts).train()
    for encoder in frozen_encoders(parts):
        encoder.eval()
    for part in trained_parts(parts):
        move_weights(part, device)
    return parts


def trained_parts(parts: Parts) -> Iterator[Any]:
    """The denoiser and the trainable encoders: on the device throughout a run."""
    yield parts.denoiser
    yield from trainable_encoders(parts)


def frozen_parts(parts: Parts) -> tuple[Any, ...]:
    """The codecs and the frozen encoders: on the device only while clips are encoded."""
    return (*(parts.codecs[stream] for stream in parts.codecs), *frozen_encoders(parts))


def trainable_encoders(parts: Parts) -> tuple[nn.Module, ...]:
    """The encoders with trainable weights."""
    return tuple(encoder for encoder in _encoders(parts) if not is_frozen(encoder))


def frozen_encoders(parts: Parts) -> tuple[nn.Module, ...]:
    """The encoders without trainable weights."""
    return tuple(encoder for encoder in _encoders(parts) if is_frozen(encoder))


def _encoders(parts: Parts) -> Iterable[Any]:
    return parts.encoders.values()


def check_task(recipe: Recipe, lengths: AV[int]) -> None:
    """Raise AssemblyError if a task's losses are all of streams that the model lacks.

    Its clips would train nothing. `lengths`: the latents in time of the model's streams.
    """
    streams, some = tuple(lengths), lengths[next(iter(lengths))]
    both = AV(lengths.video or some, lengths.audio or some)
    plan = recipe.task.plan(PROBE, recipe.flow.draw, torch.Generator().manual_seed(0), both)
    for number, name in enumerate(plan.names):
        trained = [s for s in plan.weights if bool(plan.weights[s][plan.task == number].any())]
        if trained and not set(trained) & set(streams):
            raise AssemblyError(
                f"$.task: {name} trains only the {' and '.join(trained)} stream, and this model has"
                f" only {' and '.join(streams)}; the task `joint` trains every stream of a model",
                recipe.name,
            )
