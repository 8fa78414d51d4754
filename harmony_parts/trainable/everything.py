"""All weights are trained."""

from __future__ import annotations

import attrs
from torch import nn


@attrs.frozen
class Everything:
    """All weights except those that their module has frozen, as a pre-trained encoder does."""

    def prepare(self, modules: nn.Module) -> None:
        """Change nothing: every weight is trained."""
        if not any(parameter.requires_grad for parameter in modules.parameters()):
            raise ValueError("nothing is trained: all weights of this model are frozen")
