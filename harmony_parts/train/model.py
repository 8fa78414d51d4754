"""The model of a run: built, given its initial weights, and put on the device."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from harmony_parts.assembly.build import Parts, build
from harmony_parts.assembly.recipe import Recipe
from harmony_parts.av import AV
from harmony_parts.errors import AssemblyError, RunError
from harmony_parts.latents.conditions import is_frozen
from harmony_parts.models.folder import load_weights, saved_modules
from harmony_parts.models.hub import locate_model
from harmony_parts.models.lora import adaptable_modules
from harmony_parts.models.offload import move_weights
from harmony_parts.train.join import join, lacks_a_stream, network_changes

PROBE = 1024  # clips that a task plans before the first step, to see which streams it trains


def build_model(
    recipe: Recipe, device: torch.device, start: Sequence[str | Path] = ()
) -> tuple[Parts, tuple[str, ...]]:
    """The recipe's parts, with what is trained on `device`, and where their weights come from.

    `start`: models that give the initial weights, by folder or name on the Hub. One of the same
    kind gives all of them; models of fewer streams are joined, and the lines say what each brings.

    Raises AssemblyError if the recipe can't be built or its task trains nothing in this model,
    RunError if `start` has no weights for it.
    """
    folders = [locate_model(model) for model in start]
    joined = len(folders) > 1 or any(lacks_a_stream(folder, recipe) for folder in folders)
    parts = build(recipe, recipe.train.seed, empty=("denoiser",) if folders and not joined else ())
    trained_streams(recipe, parts.lengths())  # raises before weights are loaded
    report: tuple[str, ...] = ()
    if joined:
        report = join(recipe, parts, folders)
    elif folders:
        _load_all(parts, folders[0], recipe, device)
        report = (f"all weights are those of {start[0]}",)
    choose_trained(recipe, parts)
    saved_modules(parts).train()
    for encoder in frozen_encoders(parts):
        encoder.eval()
    for part in trained_parts(parts):
        move_weights(part, device)
    return parts, report


def _load_all(parts: Parts, folder: Path, recipe: Recipe, device: torch.device) -> None:
    """Load all weights of a model. Raises RunError, with the settings that differ, if they don't
    fit.
    """
    try:
        load_weights(parts, folder, device=device, dtype=torch.float32)
    except RunError as error:
        lines = (f"  {line}" for line in network_changes(folder, recipe))
        raise RunError("\n".join([str(error), *lines])) from error


def choose_trained(recipe: Recipe, parts: Parts) -> None:
    """Let the recipe choose what is trained. Raises AssemblyError if that is nothing."""
    try:
        recipe.train.trainable.prepare(adaptable_modules(parts))
    except ValueError as error:
        raise AssemblyError(f"$.train.trainable: {error}", recipe.name) from error


def trained_parts(parts: Parts) -> Iterator[Any]:
    """The denoiser and the trainable encoders: on the device throughout a run."""
    yield parts.denoiser
    yield from trainable_encoders(parts)


def divisible_modules(parts: Parts) -> list[nn.Module]:
    """What is trained, by the units in which it may be divided between processes.

    The blocks of the denoiser, then the denoiser with the rest, then the trainable encoders.
    """
    denoiser: Any = parts.denoiser
    return [*denoiser.blocks, denoiser, *trainable_encoders(parts)]


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


def trained_streams(recipe: Recipe, lengths: AV[int]) -> tuple[str, ...]:
    """The streams of the model that the recipe's task ever trains: those that every step reads.

    `lengths`: the latents in time of the model's streams. Raises AssemblyError if a task's losses
    are all of streams that the model lacks: its clips would train nothing.
    """
    streams, some = tuple(lengths), lengths[next(iter(lengths))]
    both = AV(lengths.video or some, lengths.audio or some)
    plan = recipe.task.plan(PROBE, recipe.flow.draw, torch.Generator().manual_seed(0), both)
    trains = {s for s in plan.weights if bool(plan.weights[s].any())}
    for number, name in enumerate(plan.names):
        trained = [s for s in plan.weights if bool(plan.weights[s][plan.task == number].any())]
        if trained and not set(trained) & set(streams):
            raise AssemblyError(
                f"$.task: {name} trains only the {' and '.join(trained)} stream, and this model has"
                f" only {' and '.join(streams)}; the task `joint` trains every stream of a model",
                recipe.name,
            )
    return tuple(stream for stream in streams if stream in trains)
