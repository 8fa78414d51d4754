"""Settings that strategies of several processes share, and checks of them."""

from __future__ import annotations

from typing import Any

from attrs.validators import ge, gt

from harmony_parts.errors import RunError
from harmony_parts.plugin import knob
from harmony_parts.strategies.launch import launched_ranks


def seq_knob() -> Any:
    """The setting `seq`."""
    return knob(
        1,
        help=(
            "processes that share the tokens of each clip's video, for clips that don't fit on a"
            " device, or more devices than clips"
        ),
        unit="processes",
        off=1,
        source="arXiv:2309.14509",
        validator=ge(1),
    )


def timeout_knob() -> Any:
    """The setting `timeout`."""
    return knob(1800.0, help="how long a process waits for another", unit="s", validator=gt(0))


def check_groups(size: int, setting: str) -> None:
    """Raise RunError unless the launched processes can be divided into groups of `size`."""
    if launched_ranks() % size:
        raise RunError(
            f"$.train.strategy.{setting}: {launched_ranks()} processes can't be divided into groups"
            f" of {size}"
        )
