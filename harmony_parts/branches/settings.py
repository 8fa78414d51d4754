"""Settings that branches share, and checks of them."""

from __future__ import annotations

from typing import Any, get_args

import attrs

from harmony_parts.layers.linear import Precision
from harmony_parts.plugin import knob


def precision_knob(source: str) -> Any:
    """The setting `precision`: the type of the residual stream."""
    return knob(
        "float32",
        help=(
            "the type in which the residual stream, its norms and its modulation are computed: at"
            " least `float32`, or the type of the `weights`"
        ),
        source=source,
        validator=attrs.validators.in_(get_args(Precision)),
    )


def check_heads(width: int, heads: int) -> None:
    """Raise ValueError unless the heads divide `width` into even widths, as RoPE needs."""
    if width % (2 * heads):
        raise ValueError(f"width {width} can't be split into {heads} heads of an even width")
