"""The model of the moment, during training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from harmony_parts.assembly.build import Parts
from harmony_parts.assembly.recipe import Recipe
from harmony_parts.generate.pipeline import Pipeline
from harmony_parts.models.offload import move_weights
from harmony_parts.train.model import frozen_parts
from harmony_parts.train.state import TrainingState


@contextmanager
def preview(state: TrainingState, recipe: Recipe, parts: Parts) -> Iterator[Pipeline]:
    """A pipeline with the averaged weights; afterwards training continues with its own, bit-equal.

    Everything is on the run's device meanwhile, codecs and frozen encoders too.
    """
    trained = dict(state.modules.named_parameters())
    own = {name: trained[name].detach().clone() for name in state.trained}
    modes = [(module, module.training) for module in state.modules.modules()]
    average = state.averaged_weights()
    devices = [state.device] if state.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.no_grad():
        for name in own:
            trained[name].copy_(average[name])
        for part in frozen_parts(parts):
            move_weights(part, state.device)
        try:
            yield Pipeline(recipe, parts)
        finally:
            for name, weight in own.items():
                trained[name].copy_(weight)
            for module, training in modes:
                module.training = training
