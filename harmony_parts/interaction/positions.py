"""Where a latent of one stream stands on the other's time line: the RoPE map between streams."""

from __future__ import annotations

from typing import Any, Literal, get_args

import attrs
import torch
from torch import Tensor

from harmony_parts.layers.rope import OVI_CONSTANT
from harmony_parts.plugin import knob

RopeMap = Literal["ratio", "seconds", "constant"]


def map_knob(source: str) -> Any:
    """The setting that interactions with positions share."""
    return knob(
        "ratio",
        help="How one stream's latents are placed on the other's time line.",
        source=source,
        validator=attrs.validators.in_(get_args(RopeMap)),
    )


def constant_knob() -> Any:
    """What goes with the map `constant`."""
    return knob(
        OVI_CONSTANT,
        help="Video latents per audio latent, for the `constant` map.",
        source="Ovi",
        validator=attrs.validators.gt(0),
    )


def positions(
    queries: Tensor, keys: Tensor, rope_map: RopeMap, constant: float
) -> tuple[Tensor, Tensor]:
    """Positions of query and key latents on the queries' time line, float64 [Tq] and [Tk], in query
    latents.

    `queries` and `keys` are clocks [T, 2] in seconds. `ratio`: keys at j Tq / Tk (paper, section
    3.2). `seconds`: both at the centres of their intervals, in units of the mean query latent.
    `constant`: keys at j times `constant` (query latents per key latent).
    """
    if rope_map == "seconds":
        unit = (queries[-1, 1] - queries[0, 0]) / len(queries)
        return queries.mean(1) / unit, keys.mean(1) / unit
    scale = len(queries) / len(keys) if rope_map == "ratio" else constant
    own = torch.arange(len(queries), dtype=torch.float64, device=queries.device)
    return own, torch.arange(len(keys), dtype=torch.float64, device=keys.device) * scale
