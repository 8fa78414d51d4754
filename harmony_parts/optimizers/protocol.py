"""An optimizer: how the gradients of a step change the trained weights."""

from __future__ import annotations

from typing import Protocol

from torch import nn
from torch.optim import Optimizer


class OptimizerSpec(Protocol):
    """Settings of an optimizer."""

    def build(self, *, modules: nn.Module) -> Optimizer:
        """A torch optimizer over all parameters of `modules` that require gradients.

        The learning rate of each parameter group is its base rate: a run multiplies it by the
        factor of the `Schedule`. Everything that a step changes in the optimizer is in its
        `state_dict()["state"]`, as tensors, so that checkpoints hold it.
        """
