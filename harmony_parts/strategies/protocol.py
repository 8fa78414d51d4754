"""A strategy: on which processes and devices a run's steps are computed.

Every process runs the same loop. It draws its own rows of each batch, and everything that processes
must agree on goes through these few functions.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import torch
from torch import Tensor, nn


class Strategy(Protocol):
    """What a process of a run needs to know of the others, and does together with them."""

    rank: int  # of this process, from 0; process 0 writes
    ranks: int  # number of processes, each with rows of its own of a batch

    def prepare(self, modules: nn.Module) -> None:
        """Put what is trained on this process's device, and wrap it if it is shared.

        After `Trainable.prepare` and before the optimizer is made.
        """

    def sum(self, numbers: Tensor) -> Tensor:
        """The sum over all processes of a tensor of one shape; they continue together."""

    def clip(self, parameters: Iterable[nn.Parameter], max_norm: float) -> Tensor:
        """Scale the gradients of the whole batch to a norm of at most `max_norm`.

        0 scales nothing. Returns the norm before, a tensor without dimensions.
        """


class StrategySpec(Protocol):
    """Settings of a strategy."""

    def build(self, *, device: torch.device) -> Strategy:
        """The strategy of this process, whose own device is `device`."""
