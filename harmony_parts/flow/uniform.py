"""The uniform density of training times."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor


@attrs.frozen
class Uniform:
    """Training times are uniformly distributed."""

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Times, float32 [n] in [0, 1)."""
        return torch.rand(n, generator=generator, device=generator.device)
