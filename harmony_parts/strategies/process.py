"""The only process of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import attrs
import torch
from torch import Tensor, nn

from harmony_parts.strategies.protocol import SavedTensor


@attrs.frozen
class SingleProcess:
    """The only process: it has every row of a batch, and agrees with itself."""

    device: torch.device
    rank: int = 0
    ranks: int = 1
    seq: int = 1

    @property
    def loads_on(self) -> torch.device:
        """The device: nothing is divided."""
        return self.device

    def together(self) -> AbstractContextManager[None]:
        """Nothing."""
        return nullcontext()

    def alone(self, units: Sequence[nn.Module]) -> AbstractContextManager[None]:
        """Nothing: it always is."""
        return nullcontext()

    def prepare(self, units: Sequence[nn.Module]) -> None:
        """Move the weights to the device."""
        for unit in units:
            unit.to(self.device)

    def agree(self, go: bool) -> bool:
        """Its own answer."""
        return go

    def gather(self, text: str) -> list[str]:
        """The text."""
        return [text]

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

    def whole(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors themselves."""
        return dict(tensors)

    def part(self, saved: SavedTensor, like: Tensor | None) -> Tensor:
        """All of it."""
        return saved.read()
