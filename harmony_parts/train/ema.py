"""The exponential moving average of the weights: the weights of the finished model."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class EMA:
    """average <- average + (1 - d) (weight - average) after every step.

    d = min(decay, (1 + step) / (10 + step)): the ramp lets a short run forget its initial weights
    (TensorFlow's ExponentialMovingAverage with num_updates).
    """

    def __init__(self, parameters: Mapping[str, Tensor], decay: float) -> None:
        self.decay = decay
        self.average = {name: parameter.detach().clone() for name, parameter in parameters.items()}

    @torch.no_grad()
    def update(self, parameters: Mapping[str, Tensor], step: int) -> None:
        """Update the average with the weights after `step` steps (1 or more)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(
            list(self.average.values()),
            [parameters[name] for name in self.average],
            1 - decay,
        )

    def load(self, average: Mapping[str, Tensor]) -> None:
        """Continue from a saved average. Raises KeyError if it lacks a name."""
        for name, tensor in self.average.items():
            tensor.copy_(average[name])
