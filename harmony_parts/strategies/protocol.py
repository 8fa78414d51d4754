"""A strategy: on which processes and devices a run's steps are computed.

Every process runs the same loop. It draws its own rows of each batch, and everything that processes
must agree on goes through these few functions. All processes call them in the same order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import torch
from torch import Tensor, nn


class SavedTensor(Protocol):
    """A tensor in files, of which parts can be read."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the whole tensor."""

    def read(self, begin: Sequence[int] = (), shape: Sequence[int] | None = None) -> Tensor:
        """The part of this shape that begins at these indices; by default all of it."""


class Strategy(Protocol):
    """What a process of a run needs to know of the others, and does together with them."""

    @property
    def rank(self) -> int:
        """Of this process, from 0; process 0 writes."""

    @property
    def ranks(self) -> int:
        """The number of processes."""

    @property
    def seq(self) -> int:
        """How many of them, one after the other, share the tokens of the same clips.

        Processes `n seq` to `(n + 1) seq - 1` have the same rows of a batch, and each of them
        minimises its share of their loss: gradients are summed over all processes.
        """

    @property
    def device(self) -> torch.device:
        """Of this process."""

    @property
    def loads_on(self) -> torch.device:
        """Where the model is built, before `prepare`."""

    def together(self) -> AbstractContextManager[object]:
        """Around a run. If a process fails in it or is killed, all others raise RunError, with why.

        No process waits for a lost one without end.
        """

    def alone(self, units: Sequence[nn.Module]) -> AbstractContextManager[object]:
        """Around what this process computes by itself with the `units` that it has prepared.

        Raises RunError if it can't, because it has only a part of the weights.
        """

    def prepare(self, units: Sequence[nn.Module]) -> None:
        """Put the modules that are trained on the device, and divide them if they are divided.

        `units`: modules that are divided one by one: the blocks of a network, then the network
        itself with what isn't in them, then trained encoders. Called after `Trainable.prepare` and
        before the optimizer is made. Every process has the same weights. If processes share clips,
        the network gets its share of the tokens (`SharesVideo`). Raises RunError if it can't train
        these modules.
        """

    def agree(self, go: bool) -> bool:
        """Whether `go` is true in every process."""

    def gather(self, text: str) -> list[str]:
        """The texts of all processes, by rank."""

    def sum(self, numbers: Tensor) -> Tensor:
        """The sum over all processes of a tensor of one shape."""

    def clip(self, parameters: Iterable[nn.Parameter], max_norm: float) -> Tensor:
        """Sum the gradients over all processes, and scale them to a norm of at most `max_norm`.

        0 scales nothing. Returns the norm before, a tensor without dimensions.
        """

    def whole(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Divided tensors as whole ones, in process 0; nothing in the others."""

    def part(self, saved: SavedTensor, like: Tensor | None) -> Tensor:
        """What this process has of a saved tensor that is divided as `like` is."""


class StrategySpec(Protocol):
    """Settings of a strategy."""

    @property
    def seq(self) -> int:
        """How many processes share the tokens of a clip; 1: each has whole clips."""

    def shards_of(self, ranks: int, local: int) -> int:
        """How many of `ranks` processes divide a copy of the weights; 1: each has a whole copy.

        `local` processes run on a machine. 0: it can't train in so many.
        """

    def build(self, *, device: torch.device) -> Strategy:
        """The strategy of this process. `device` is the kind of device that was chosen.

        Raises RunError if the processes can't be connected.
        """
