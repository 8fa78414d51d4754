"""Which clips a step gets: each clip once an epoch, in a new random order for every epoch."""

from __future__ import annotations

import torch
from torch import Tensor


class ClipOrder:
    """An endless sequence of shuffled epochs of the numbers below `size`.

    Its state is the current epoch's permutation and the position in it.
    """

    def __init__(self, size: int) -> None:
        self.size, self.position = size, 0
        self.permutation = torch.empty(0, dtype=torch.long)

    def next(self, count: int, generator: torch.Generator) -> Tensor:
        """The next `count` numbers, int64 [count]; a batch may reach into the next epoch."""
        drawn = []
        while count:
            if self.position == len(self.permutation):
                self.permutation = torch.randperm(self.size, generator=generator)
                self.position = 0
            some = self.permutation[self.position : self.position + count]
            self.position, count = self.position + len(some), count - len(some)
            drawn.append(some)
        return torch.cat(drawn)
