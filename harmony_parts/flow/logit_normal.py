"""The logit-normal density of training times."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from harmony_parts.plugin import knob


@attrs.frozen
class LogitNormal:
    """t = 1 / (1 + exp(-(mean + std z))), z ~ N(0, 1) (Esser et al., arXiv:2403.03206, eq. 19)."""

    mean: float = knob(
        0.0,
        help="values above 0 emphasize noisier times",
        source="arXiv:2403.03206, rf/lognorm(0.00, 1.00)",
        converter=float,
    )
    std: float = knob(
        1.0,
        help="spread of the times",
        source="arXiv:2403.03206, rf/lognorm(0.00, 1.00)",
        converter=float,
        validator=attrs.validators.gt(0),
    )

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Times, float32 [n] in [0, 1]."""
        return torch.sigmoid(
            self.mean + self.std * torch.randn(n, generator=generator, device=generator.device)
        )
