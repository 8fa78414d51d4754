"""What is trained: all weights, some of them, or adapters."""

from __future__ import annotations

from typing import Protocol

from torch import nn


class Trainable(Protocol):
    """A stateless part, which is its own spec."""

    def prepare(self, modules: nn.Module) -> None:
        """Choose what is trained, in place, before the optimizer is made.

        `modules` are those that own a model's weights (`saved_modules`): a parameter that isn't
        trained gets `requires_grad = False`. Weights may be added, but those of the model keep
        their names and values, and the model computes the same as before. New weights that are
        random come from torch's global generator, which the run has seeded.

        Raises ValueError, with the names that exist, if nothing is left to train.
        """
