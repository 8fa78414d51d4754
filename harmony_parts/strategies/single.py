"""One process on one device."""

from __future__ import annotations

from collections.abc import Iterable

import attrs
import torch
from torch import Tensor, nn


@attrs.frozen
class Single:
    """No settings. It imports nothing of torch.distributed."""

    def build(self, *, device: torch.device) -> SingleProcess:
        """The only process."""
        return SingleProcess(device)


@attrs.frozen
class SingleProcess:
    """The only process: it has every row of a batch, and agrees with itself."""

    device: torch.device
    rank: int = 0
    ranks: int = 1

    def prepare(self, modules: nn.Module) -> None:
        """Move the weights to the device."""
        modules.to(self.device)

    def sum(self, numbers: Tensor) -> Tensor:
        """The numbers themselves."""
        return numbers

    def clip(self, parameters: Iterable[nn.Parameter], max_norm: float) -> Tensor:
        """Scale the gradients to a norm of at most `max_norm`, unless that is 0."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients) if gradients else torch.zeros(())
        if max_norm and gradients:
            # min(1, .) leaves short gradients bit for bit
            torch._foreach_mul_(gradients, (max_norm / (norm + 1e-6)).clamp(max=1.0))
        return norm
