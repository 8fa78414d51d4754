"""The settings of guidances, and guidances inside others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import attrs


def is_guidance(value: Any) -> bool:
    """Whether a setting's value is a guidance."""
    return callable(getattr(value, "combine", None))


def inner_guidances(guidance: Any) -> Iterator[Any]:
    """The guidances that are settings of a guidance."""
    for field in attrs.fields(type(guidance)):
        value = getattr(guidance, field.name)
        yield from filter(is_guidance, value if isinstance(value, tuple) else (value,))


def map_inner(guidance: Any, change: Callable[[Any], Any]) -> Any:
    """A copy of a guidance with `change` applied to each guidance that is a setting of it."""
    changed: dict[str, Any] = {}
    for field in attrs.fields(type(guidance)):
        value = getattr(guidance, field.name)
        if is_guidance(value):
            changed[field.name] = change(value)
        elif isinstance(value, tuple) and all(map(is_guidance, value)):
            changed[field.name] = tuple(map(change, value))
    return attrs.evolve(guidance, **changed)


def scales(guidance: Any) -> list[str]:
    """The names of the settings that are scales."""
    return [
        field.name
        for field in attrs.fields(type(guidance))
        if field.name in ("video", "audio", "scale") and field.metadata.get("off") == 1.0
    ]
