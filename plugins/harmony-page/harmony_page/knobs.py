"""The numbers of a guidance as sliders, made from its knobs. Knows nothing of widgets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from harmony_parts.assembly.catalogue import catalogue
from harmony_parts.assembly.tables import structure
from harmony_parts.errors import HarmonyError, UnknownPart
from harmony_parts.guidance.protocol import Guidance

OWN = "the model's own"
HIGHEST = 10.0
Path = tuple[str | int, ...]


@attrs.frozen
class Knob:
    """A number of a guidance: where it is (`("inner", "video")`), its value, limits and help.

    `label`: the names of the guidances on the way to it, and its own, such as "sync-cfg video".
    """

    path: Path
    label: str
    value: float
    low: float
    high: float
    step: float
    help: str


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
    return [_knob(guidance, *each) for each in _numbers(guidance)]


def name_of(guidance: Guidance) -> str:
    """The part's name, such as "sync-cfg"; the name of the class if no plugin declares it."""
    try:
        return catalogue().qualified_name(guidance, "guidance").removeprefix("harmony/")
    except UnknownPart:
        return type(guidance).__name__


def described(guidance: Guidance, *, numbers: bool = True) -> str:
    """The names and numbers of a guidance: "sum of cfg (video 4, audio 3) + skip-layer (...)"."""
    own = [field.name for path, _, field in _numbers(guidance) if len(path) == 1]
    values = ", ".join(f"{name} {getattr(guidance, name):g}" for name in own)
    inner = " + ".join(described(each, numbers=numbers) for _, each in _inner(guidance))
    words = name_of(guidance) + (f" ({values})" if values and numbers else "")
    return f"{words} of {inner}" if inner else words


def changed(guidance: Any, values: Mapping[Path, float]) -> Any:
    """The guidance with other numbers. Raises ValueError for a number that it refuses."""
    for path, value in values.items():
        guidance = _with(guidance, path, value)
    return guidance


def _numbers(
    part: Any, path: Path = (), words: tuple[str, ...] = ()
) -> Iterator[tuple[Path, str, attrs.Attribute[Any]]]:
    """(where it is, its label, the field) of each number in a guidance."""
    inner = list(_inner(part))
    names = [name_of(each) for _, each in inner]
    for field in attrs.fields(type(part)) if attrs.has(type(part)) else ():
        value = getattr(part, field.name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield (*path, field.name), " ".join((*words, field.name)), field
        for k, (here, each) in enumerate(inner):
            if here[0] == field.name:
                # two of a kind are numbered
                many = (str(1 + names[:k].count(names[k])),) if names.count(names[k]) > 1 else ()
                yield from _numbers(each, (*path, *here), (*words, names[k], *many))


def _inner(part: Any) -> Iterator[tuple[Path, Any]]:
    """(where it is, the guidance) of each guidance that a guidance wraps."""
    for field in attrs.fields(type(part)) if attrs.has(type(part)) else ():
        value = getattr(part, field.name)
        if _is_guidance(value):
            yield (field.name,), value
        elif isinstance(value, tuple):
            yield from (
                ((field.name, k), each) for k, each in enumerate(value) if _is_guidance(each)
            )


def _is_guidance(value: Any) -> bool:
    return hasattr(value, "passes") and hasattr(value, "combine")


def _knob(guidance: Guidance, path: Path, label: str, field: attrs.Attribute[Any]) -> Knob:
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
    return Knob(path, label, value, min(low, value), max(high, value), step, text)


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
