"""From settings to plain tables, in TOML's own types."""

from __future__ import annotations

import pathlib
import typing
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import partial
from typing import Any

from cattrs import Converter

from harmony_parts.assembly.catalogue import Catalogue
from harmony_parts.assembly.declared import Declared
from harmony_parts.assembly.kinds import kind_of
from harmony_parts.assembly.table_faults import each_of
from harmony_parts.assembly.table_types import (
    NONE,
    accepts_none_as_text,
    is_class,
    is_kind,
    is_list,
    is_table,
    is_union,
    settings_of,
)

OnPart = Callable[[Declared], object]


def register_writers(c: Converter, parts: Catalogue, on_part: OnPart) -> None:
    """Register a function for every type; `on_part` is called with each part that is written."""
    c.register_unstructure_hook(Fraction, str)
    c.register_unstructure_hook(pathlib.PurePath, str)
    c.register_unstructure_hook_factory(is_list, lambda t: lambda value: _write_list(value, t, c))
    c.register_unstructure_hook_factory(is_table, lambda t: lambda value: _write_table(value, t, c))
    c.register_unstructure_hook_factory(is_class, lambda t: lambda value: _write_class(value, t, c))
    c.register_unstructure_hook_factory(is_union, lambda t: lambda value: _write_union(value, t, c))
    c.register_unstructure_hook_factory(
        is_kind, lambda t: lambda value: write_part(value, str(kind_of(t)), c, parts, on_part)
    )


def write_part(
    value: Any, kind: str, c: Converter, parts: Catalogue, on_part: OnPart
) -> dict[str, Any]:
    """The table of a part: `use` with its qualified name, then its settings."""
    declared = parts.declared(value, kind)
    on_part(declared)
    return {"use": declared.qualified, **_write_class(value, type(value), c)}


def _write_class(value: Any, t: Any, c: Converter) -> dict[str, Any]:
    """Every setting, except those that are None by default and are None."""
    values = {
        name: (getattr(value, a.name), of)
        for name, a, of in settings_of(t)
        if getattr(value, a.name) is not None or a.default is not None
    }
    written = each_of(
        (name, partial(c.unstructure, v, unstructure_as=of)) for name, (v, of) in values.items()
    )
    return dict(zip(values, written, strict=True))


def _write_list(value: Any, t: Any, c: Converter) -> list[Any]:
    inner = typing.get_args(t) or (Any, ...)
    fixed = len(inner) == len(value) and inner[-1] is not Ellipsis
    each = inner if fixed else inner[:1] * len(value)
    written = each_of(
        (i, partial(c.unstructure, v, unstructure_as=of))
        for i, (v, of) in enumerate(zip(value, each, strict=True))
    )
    return sorted(written) if isinstance(value, set | frozenset) else written


def _write_table(value: Any, t: Any, c: Converter) -> dict[str, Any]:
    inner = (typing.get_args(t) or (str, Any))[1]
    written = each_of(
        (str(k), partial(c.unstructure, v, unstructure_as=inner)) for k, v in value.items()
    )
    return dict(zip(map(str, value), written, strict=True))


def _write_union(value: Any, t: Any, c: Converter) -> Any:
    options = typing.get_args(t)
    if value is None:
        if any(map(accepts_none_as_text, options)):
            raise ValueError(
                "None can't be written here: TOML has no null, omitting it would mean the default,"
                " and 'none' is a name"
            )
        return NONE
    # Any class of settings may be a part, so an option that is the value's own class comes first.
    for option in sorted(options, key=is_kind):
        origin = typing.get_origin(option) or option
        if (
            is_class(type(value))
            if is_kind(option)
            else isinstance(origin, type) and isinstance(value, origin)
        ):
            return c.unstructure(value, unstructure_as=option)
    return c.unstructure(value)


def plain(value: Any) -> Any:
    """A table with every value in one of TOML's types. Raises TypeError if one can't be written."""
    if isinstance(value, Mapping):
        written = each_of((key, partial(plain, inner)) for key, inner in value.items())
        return dict(zip(value, written, strict=True))
    if isinstance(value, list | tuple):
        return each_of((i, partial(plain, inner)) for i, inner in enumerate(value))
    for type_ in (bool, int, float, str):
        if isinstance(value, type_):
            return type_(value)
    raise TypeError(
        f"{value!r} can't be written to a recipe: a setting is a plain value, a class of settings,"
        " or a part"
    )
