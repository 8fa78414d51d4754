"""The numbers of a guidance as sliders, made from its knobs. Knows nothing of widgets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from harmony_parts.assembly.catalogue import catalogue
from harmony_parts.assembly.tables import structure
from harmony_parts.errors import HarmonyError
from harmony_parts.guidance.protocol import Guidance

OWN = "the model's own"
HIGHEST = 10.0
Path = tuple[str | int, ...]


@attrs.frozen
class Knob:
    """A number of a guidance: where it is (`("inner", "video")`), its value, limits and help."""

    path: Path
    value: float
    low: float
    high: float
    step: float
    help: str

    @property
    def label(self) -> str:
        """The names on the way to it."""
        return " ".join(str(key + 1) if isinstance(key, int) else key for key in self.path)


def guidances(own: Guidance) -> dict[str, Guidance]:
    """The guidances to choose from: the model's own, then all installed ones that need no setting.

    One that can't be imported or built is left out: `harmony parts check` says why.
    """
    found = {OWN: own}
    for declared in catalogue().list("guidance"):
        try:
            table = {"use": declared.qualified}
            found[declared.qualified.removeprefix("harmony/")] = structure(table, Guidance)  # type: ignore[type-abstract]
        except HarmonyError:
            continue
    return found


def knobs(guidance: Guidance) -> list[Knob]:
    """All numbers of a guidance and of those that it wraps, in the order of their fields."""
    return [_knob(guidance, path, field) for path, field in _numbers(guidance)]


def described(guidance: Guidance) -> str:
    """The classes and the numbers of a guidance, such as "SyncCFG, video 3, audio 2"."""
    numbers = (f"{knob.label} {knob.value:g}" for knob in knobs(guidance))
    return ", ".join([type(guidance).__name__, *numbers])


def changed(guidance: Any, values: Mapping[Path, float]) -> Any:
    """The guidance with other numbers. Raises ValueError for a number that it refuses."""
    for path, value in values.items():
        guidance = _with(guidance, path, value)
    return guidance


def _numbers(part: Any, path: Path = ()) -> Iterator[tuple[Path, attrs.Attribute[Any]]]:
    """(where it is, the field) of each number in a guidance."""
    for field in attrs.fields(type(part)) if attrs.has(type(part)) else ():
        value, here = getattr(part, field.name), (*path, field.name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield here, field
        elif isinstance(value, tuple):
            for number, each in enumerate(value):
                if _is_guidance(each):
                    yield from _numbers(each, (*here, number))
        elif _is_guidance(value):
            yield from _numbers(value, here)


def _is_guidance(value: Any) -> bool:
    return hasattr(value, "passes") and hasattr(value, "combine")


def _knob(guidance: Guidance, path: Path, field: attrs.Attribute[Any]) -> Knob:
    value: float = _get(guidance, path)
    # validators say what they refuse, not what they accept: so the limits are tried
    size = 2 * abs(value)
    high = next(x for x in (HIGHEST, size, 1.0, 0.99, 0.0, value) if _accepts(guidance, path, x))
    lowest = (-size, -0.99) if value < 0 else ()
    low = next(x for x in (*lowest, 0.0, value) if _accepts(guidance, path, x))
    unit = f" ({field.metadata['unit']})" if field.metadata.get("unit") else ""
    off = field.metadata.get("off")
    note = "" if off is None else f"; {off:g} is off"
    step = 1 if isinstance(value, int) else 0.01 if high <= 1 else 0.1
    text = f"{field.metadata.get('help', '')}{unit}{note}"
    return Knob(path, value, min(low, value), max(high, value), step, text)


def _accepts(guidance: Guidance, path: Path, value: float) -> bool:
    try:
        _with(guidance, path, value)
    except (ValueError, TypeError, HarmonyError):
        return False
    return True


def _get(part: Any, path: Path) -> Any:
    for key in path:
        part = part[key] if isinstance(key, int) else getattr(part, key)
    return part


def _with(part: Any, path: Path, value: Any) -> Any:
    """A copy of the part with one number changed; whole numbers stay whole."""
    if not path:
        return round(value) if isinstance(part, int) else float(value)
    key, *rest = path
    inner = _with(_get(part, (key,)), tuple(rest), value)
    if isinstance(key, int):
        return (*part[:key], inner, *part[key + 1 :])
    return attrs.evolve(part, **{key: inner})
