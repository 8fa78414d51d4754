"""The RoPE map between streams: positions of one stream's latents on the other's time line."""

from __future__ import annotations

from typing import Any, Literal, get_args

import attrs
import torch
from torch import Tensor

from harmony_parts.layers.rope import OVI_CONSTANT
from harmony_parts.plugin import knob

RopeMap = Literal["ratio", "seconds", "constant", "index", "none"]


def map_knob(source: str) -> Any:
    """The setting `rope_map`."""
    return knob(
        "ratio",
        help=(
            "how latents of one stream get positions on the other's time line; `index` and `none`"
            " don't align them"
        ),
        source=source,
        validator=attrs.validators.in_(get_args(RopeMap)),
    )


def constant_knob() -> Any:
    """The setting `constant`, for the `constant` map."""
    return knob(
        OVI_CONSTANT,
        help="video latents per audio latent, for the `constant` map",
        source="Ovi",
        validator=attrs.validators.gt(0),
    )


def positions(
    queries: Tensor, keys: Tensor, rope_map: RopeMap, constant: float
) -> tuple[Tensor, Tensor]:
    """Positions of query and key latents in query latents, float64 [Tq] and [Tk].

    `queries` and `keys` are clocks [T, 2] in seconds. `ratio`: key j is at j Tq / Tk (paper,
    section 3.2). `seconds`: both are at the centres of their intervals, in units of the mean query
    latent. `constant`: key j is at j times `constant` (query latents per key latent).

    Without alignment (a row of the paper's table 3, which doesn't say how): `index`, key j is at j,
    by its own stream's count; `none`, all are at 0, so nothing is rotated.
    """
    if rope_map == "seconds":
        unit = (queries[-1, 1] - queries[0, 0]) / len(queries)
        return queries.mean(1) / unit, keys.mean(1) / unit
    at_queries, at_keys = (
        torch.arange(len(clock), dtype=torch.float64, device=clock.device)
        for clock in (queries, keys)
    )
    if rope_map == "none":
        return at_queries * 0, at_keys * 0
    scales = {"ratio": len(queries) / len(keys), "constant": constant, "index": 1.0}
    return at_queries, at_keys * scales[rope_map]
