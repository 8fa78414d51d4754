"""Which clips a step sees: every clip once an epoch, in an order drawn anew for each."""

from __future__ import annotations

import torch
from torch import Tensor


class ClipOrder:
    """Endless shuffled numbers below `size`. Its state is the permutation that is being read and
    the place in it.
    """

    def __init__(self, size: int) -> None:
        self.size, self.place = size, 0
        self.permutation = torch.empty(0, dtype=torch.long)

    def next(self, count: int, generator: torch.Generator) -> Tensor:
        """int64 [count]. An epoch that ends within a batch is followed by the next one, so that
        batches are never short.
        """
        taken = []
        while count:
            if self.place == len(self.permutation):
                self.permutation, self.place = torch.randperm(self.size, generator=generator), 0
            some = self.permutation[self.place : self.place + count]
            self.place, count = self.place + len(some), count - len(some)
            taken.append(some)
        return torch.cat(taken)
