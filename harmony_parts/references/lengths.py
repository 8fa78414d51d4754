"""What the references share: the setting of their length, and how a piece is placed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import torch

from harmony_parts.plugin import knob


def _ordered(instance: Any, attribute: attrs.Attribute[Any], value: tuple[float, float]) -> None:
    if len(value) != 2 or not 0 < value[0] <= value[1]:
        raise ValueError(
            f"{type(instance).__name__}.seconds must be [shortest, longest], both above 0 s, not"
            f" {list(value)}"
        )


def seconds_knob() -> Any:
    """The setting `seconds`: the shortest and the longest reference."""
    return knob(
        (1.0, 3.0),
        help="shortest and longest reference",
        unit="s",
        source="Harmony, arXiv:2511.21579: 1-3 s",
        validator=_ordered,
    )


def draws(generator: torch.Generator) -> tuple[float, float, float]:
    """Three numbers in [0, 1): as many in every call of every reference."""
    which, length, position = torch.rand(3, generator=generator, dtype=torch.float64).tolist()
    return which, length, position


def placed(
    spans: Sequence[tuple[float, float]],
    seconds: tuple[float, float],
    length: float,
    position: float,
) -> tuple[float, float] | None:
    """(begin, end) of a piece inside one of the `spans`, `None` if all are shorter than allowed.

    Lengths are uniform within `seconds`, at most that of the longest span; positions are uniform
    over all places where the piece fits. `length` and `position` in [0, 1) choose.
    """
    shortest, longest = seconds
    room = max((end - begin for begin, end in spans), default=0.0)
    if room < shortest:
        return None
    wanted = min(shortest + (longest - shortest) * length, room)
    places = [
        (begin, max(0.0, end - begin - wanted)) for begin, end in spans if end - begin >= wanted
    ]
    at = position * sum(free for _, free in places)
    for begin, free in places:
        if at <= free:
            return begin + at, begin + at + wanted
        at -= free
    begin, free = places[-1]  # the sum was rounded
    return begin + free, begin + free + wanted
