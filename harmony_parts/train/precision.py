"""The precision of a step's arithmetic; the weights that are trained stay float32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
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


@contextmanager
def matmul_precision(precision: Precision) -> Iterator[None]:
    """Around a whole step: with "tf32", float32 products on a GPU round their inputs to TF32."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
