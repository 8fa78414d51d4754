"""Where a latent of one stream stands on the other's time line: the RoPE map between streams."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

RopeMap = Literal["ratio", "seconds", "constant"]
OVI_CONSTANT = 0.19676
"""Video latents per audio latent as Ovi sets it (31 / 157 is 0.19745)."""


def positions(queries: Tensor, keys: Tensor, rope_map: RopeMap, constant: float) -> tuple[Tensor, Tensor]:
    """Positions of query and key latents on the queries' time line, float64 [Tq] and [Tk], in query latents.

    `queries` and `keys` are clocks [T, 2] in seconds. `ratio`: keys at j Tq / Tk (paper, section 3.2). `seconds`: both at the centres of
    their intervals, in units of the mean query latent. `constant`: keys at j times `constant` (query latents per key latent).
    """
    if rope_map == "seconds":
        unit = (queries[-1, 1] - queries[0, 0]) / len(queries)
        return queries.mean(1) / unit, keys.mean(1) / unit
    scale = len(queries) / len(keys) if rope_map == "ratio" else constant
    own = torch.arange(len(queries), dtype=torch.float64, device=queries.device)
    return own, torch.arange(len(keys), dtype=torch.float64, device=keys.device) * scale
