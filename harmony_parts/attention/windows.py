"""Attention windows between streams, from the codecs' clocks."""

from __future__ import annotations

import torch
from torch import Tensor

from harmony_parts.attention.protocol import Windows


def windows(queries: Tensor, keys: Tensor, reach: float) -> Windows:
    """Key j is in the window of query i if it overlaps [start_i - reach, end_i + reach].

    `queries` [Tq, 2] and `keys` [Tk, 2]: clocks, (start, end) in seconds, float64; `reach` in
    seconds. If the queries' intervals cover the keys' time, every key is in some window, at any
    rates. Windows are contiguous because clocks never decrease. Raises ValueError for a negative
    reach.
    """
    if reach < 0:
        raise ValueError(f"the reach of a window must be at least 0 s, and is {reach}")
    # first key that ends after the window opens; first key that starts when it has closed
    start = torch.searchsorted(
        keys[:, 1].contiguous(), (queries[:, 0] - reach).contiguous(), right=True
    )
    end = torch.searchsorted(
        keys[:, 0].contiguous(), (queries[:, 1] + reach).contiguous(), right=False
    )
    return Windows.of(start, torch.maximum(start, end), len(keys))
