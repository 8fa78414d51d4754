"""Which latents of one stream a latent of the other sees, from the codecs' clocks."""

from __future__ import annotations

import torch
from torch import Tensor

from harmony_parts.attention.protocol import Windows


def windows(queries: Tensor, keys: Tensor, reach: float) -> Windows:
    """Key j is seen by query i where its interval overlaps [start_i - reach, end_i + reach].

    `queries` [Tq, 2] and `keys` [Tk, 2]: clocks, (start, end) in seconds, float64; `reach` in
    seconds. Where the queries' intervals cover the keys' time, every key is seen by some query,
    whatever the rates. Windows are contiguous because clocks never go back.
    """
    if reach < 0:
        raise ValueError(f"a window's reach can't be below 0 s, and is {reach}")
    # first key that ends after the window opens; first key that starts when it has closed
    start = torch.searchsorted(
        keys[:, 1].contiguous(), (queries[:, 0] - reach).contiguous(), right=True
    )
    end = torch.searchsorted(
        keys[:, 0].contiguous(), (queries[:, 1] + reach).contiguous(), right=False
    )
    return Windows.of(start, torch.maximum(start, end), len(keys))
