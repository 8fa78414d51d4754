"""A network with every sort of weight, for the contract checks of what trains it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from harmony_parts.testing.contracts.require import generator


class SmallNetwork(nn.Module):
    """x [B, WIDTH] -> [B, WIDTH]: a table, a norm, layers in a list, modulation; equal each time.

    `frozen` is a layer that a check may freeze.
    """

    WIDTH = 8

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.table = nn.Embedding(4, self.WIDTH)
            self.norm = nn.LayerNorm(self.WIDTH)
            self.layers = nn.ModuleList(nn.Linear(self.WIDTH, self.WIDTH) for _ in range(2))
            self.frozen = nn.Linear(self.WIDTH, self.WIDTH)
        self.modulation = nn.Parameter(torch.randn(2, self.WIDTH, generator=generator()) / 4)

    def forward(self, x: Tensor) -> Tensor:
        """Residual layers between a table's rows and a modulated output."""
        hidden = x + self.table(torch.arange(len(x)) % 4)
        for layer in self.layers:
            hidden = hidden + layer(torch.tanh(self.norm(hidden)))
        scale, shift = self.modulation
        return self.frozen(hidden) * (1 + scale) + shift
