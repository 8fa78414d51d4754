"""Changes to a recipe's table from the command line: `train.steps=10`, `sample.guidance.use=cfg`,
`metrics.0.tolerance=0.05`.
"""

from __future__ import annotations

import copy
import datetime
import tomllib
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from harmony_parts.assembly.catalogue import Catalogue, catalogue
from harmony_parts.assembly.kinds import kind_of
from harmony_parts.assembly.tables import unstructure
from harmony_parts.errors import AssemblyError, HarmonyError


def apply_overrides(
    table: Mapping[str, Any],
    overrides: Sequence[str],
    cls: Any = None,
    *,
    parts: Catalogue | None = None,
) -> dict[str, Any]:
    """A copy of a plain table with each "key.path=value" set, in order. Values are TOML; what isn't
    TOML is a string.

    Setting `x.use` exchanges the part: its old settings go, since they are another part's. A number
    in a path is a place in a list. `cls` is what the table will be read as (`Recipe`, `Guidance`):
    with it, a path may lead into a default that the table doesn't write out. Raises AssemblyError
    for what is no override, or leads nowhere.
    """
    changed = copy.deepcopy(dict(table))
    known = parts or catalogue() if cls is not None and overrides else None
    faults = []
    for override in overrides:
        path, equals, text = override.partition("=")
        keys = path.strip().split(".")
        if not equals or not all(keys):
            faults.append(f"{override!r} is no override; write key.path=value")
            continue
        try:
            _set(changed, keys, _value(text.strip()), cls, known)
        except LookupError as error:
            faults.append(f"{override!r}: {error.args[0]}")
    if faults:
        raise AssemblyError(faults, "overrides")
    return changed


def _value(text: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    value = parsed["value"]
    # A line break could smuggle in a second setting; and no setting is a date, but a name may look
    # like one.
    if len(parsed) > 1 or isinstance(value, datetime.date | datetime.time):
        return text
    return value


def _set(table: Any, keys: list[str], value: Any, cls: Any, parts: Catalogue | None) -> None:
    *before, last = keys
    for depth, key in enumerate(before):
        cls, default = (None, dict) if parts is None else _inside(cls, table, key, parts)
        if isinstance(table, dict) and key not in table:
            table[key] = default()
        inner = table[key] if isinstance(table, dict) else table[_place(table, key, keys[:depth])]
        if isinstance(inner, str):  # a part by its name alone
            inner = {"use": inner}
            _put(table, key, inner, keys[:depth])
        table = inner
    if last == "use" and isinstance(table, dict) and "use" in table:
        table.clear()
    _put(table, last, value, before)


def _put(table: Any, key: str, value: Any, path: list[str]) -> None:
    if isinstance(table, dict):
        table[key] = value
    else:
        table[_place(table, key, path)] = value


def _place(table: Any, key: str, path: list[str]) -> int:
    """An index into a list."""
    where = ".".join(path) or "the recipe"
    if not isinstance(table, list):
        raise LookupError(f"{where} is a plain value, which has no {key!r}")
    if not key.isdecimal() or int(key) >= len(table):
        raise LookupError(
            f"{where} is a list of {len(table)}; {key!r} isn't a place in it (from 0)"
        )
    return int(key)


# --- defaults -------------------------------------------------------------------------------------


def _inside(cls: Any, table: Any, key: str, parts: Catalogue) -> tuple[Any, Callable[[], Any]]:
    """Of what is called `key` in a table of the type `cls`: its type (None where it isn't known),
    and what makes its default as a table.

    What is wrong with the table is left for reading it to tell.
    """
    unknown = None, dict
    options = [t for t in typing.get_args(cls) if t is not type(None)]
    if typing.get_origin(cls) in (typing.Union, types.UnionType):
        return _inside(options[0], table, key, parts) if len(options) == 1 else unknown
    if kind := kind_of(cls):
        try:
            cls = parts.load(kind, table["use"])
        except (HarmonyError, KeyError, TypeError):
            return unknown
    origin = typing.get_origin(cls) or cls
    if origin in (dict, Mapping) and len(options) == 2:
        return options[1], dict
    if origin in (list, tuple, Sequence) and (len(options) == 1 or options[1:] == [...]):
        return options[0], dict
    if not attrs.has(origin):
        return unknown
    try:
        fields = attrs.fields(attrs.resolve_types(origin))
    except NameError:
        return unknown
    field = next((field for field in fields if field.init and field.alias == key), None)
    return unknown if field is None else (field.type, lambda: _default(field, parts))


def _default(field: attrs.Attribute[Any], parts: Catalogue) -> Any:
    """The default of a setting as it is written in a table; an empty table where it has none."""
    default: Any = field.default
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        default = attrs.NOTHING if default.takes_self else default.factory()
    if default is attrs.NOTHING or default is None:
        return {}
    holder = attrs.make_class("Default", {"held": attrs.field(type=field.type)})
    try:
        return unstructure(holder(default), parts=parts)["held"]
    except AssemblyError:  # a part that isn't declared
        return {}
