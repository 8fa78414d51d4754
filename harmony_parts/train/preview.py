"""The model of the moment, during training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from harmony_parts.assembly.build import Parts
from harmony_parts.assembly.recipe import Recipe
from harmony_parts.generate.pipeline import Pipeline
from harmony_parts.models.offload import move_weights
from harmony_parts.train.model import divisible_modules, frozen_parts
from harmony_parts.train.state import TrainingState


@contextmanager
def averaged(state: TrainingState) -> Iterator[None]:
    """The model has its averaged weights and is in evaluation mode; afterwards it is as before.

    The global generators are as before too, so training continues bit-equal.
    """
    own = {name: weight.detach().clone() for name, weight in state.trained.items()}
    modes = [(module, module.training) for module in state.modules.modules()]
    average = state.ema.average if state.ema is not None and state.step else own
    devices = [state.device] if state.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.no_grad():
        _copy(average, state)
        state.modules.eval()
        try:
            yield
        finally:
            _copy(own, state)
            for module, training in modes:
                module.training = training


def _copy(weights: Mapping[str, Tensor], state: TrainingState) -> None:
    for name, weight in state.trained.items():
        weight.copy_(weights[name])


@contextmanager
def preview(state: TrainingState, recipe: Recipe, parts: Parts) -> Iterator[Pipeline]:
    """A pipeline with the averaged weights, in process 0.

    Everything is on the run's device meanwhile, codecs and frozen encoders too. Raises RunError if
    the weights are divided between processes.
    """
    with state.strategy.alone(divisible_modules(parts)), averaged(state):
        for part in frozen_parts(parts):
            move_weights(part, state.device)
        yield Pipeline(recipe, parts)
