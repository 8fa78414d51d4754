"""The precision of a step's arithmetic; the weights that are trained stay float32.

"tf32" is set by `layers.precision.float32_products`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

Precision = Literal["float32", "tf32", "bfloat16"]


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """Around the denoiser: with "bfloat16", matrix products and attention compute in bfloat16.

    Norms, losses and sums stay float32, and so do weights and gradients.
    """
    if precision != "bfloat16":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)
