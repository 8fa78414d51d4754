"""The uniform density of training times."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor


@attrs.frozen
class Uniform:
    """Every time equally often."""

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """float32 [n] in [0, 1)."""
        return torch.rand(n, generator=generator, device=generator.device)
