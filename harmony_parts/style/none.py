"""No style path: the reference sound keeps to itself."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor, nn

from harmony_parts.av import AV
from harmony_parts.branches.protocol import Branch


@attrs.frozen
class NoStyle:
    """No settings."""

    def build(self, *, branches: AV[Branch]) -> Unmoved:
        """The same for any branches."""
        return Unmoved()


class Unmoved(nn.Module):
    """The reference isn't changed."""

    def forward(self, reference: Tensor, video: Tensor) -> Tensor:
        """Zeros of the shape of `reference`."""
        return torch.zeros_like(reference)
