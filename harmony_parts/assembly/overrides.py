"""Changes to a recipe's table, as with `--set` on the command line.

For example `train.steps=10`, `sample.guidance.use=cfg`, `metrics.0.tolerance=0.05`.
"""

from __future__ import annotations

import copy
import datetime
import tomllib
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from harmony_parts.assembly.catalogue import Catalogue, catalogue
from harmony_parts.assembly.kinds import kind_of
from harmony_parts.assembly.table_types import (
    is_class,
    is_kind,
    is_union,
    option_for,
    settings_of,
)
from harmony_parts.assembly.tables import unstructure
from harmony_parts.errors import AssemblyError, HarmonyError


def apply_overrides(
    table: Mapping[str, Any],
    overrides: Sequence[str],
    cls: Any = None,
    *,
    parts: Catalogue | None = None,
) -> dict[str, Any]:
    """A copy of a plain table with every "key.path=value" applied, in order.

    Values are TOML; a value that isn't valid TOML is a string. A number in a path is an index into
    a list. Setting `x.use` exchanges the part at `x` and removes the settings of the previous one.
    `cls` is the class that the table will be read as (`Recipe`, `Guidance`): with it, a path may
    lead into a default that the table doesn't contain, and into one stream of a part that both
    share, which is then repeated for the other (`sample.shift.video.shift=12`). Raises
    AssemblyError if an override is malformed or its path doesn't exist.
    """
    if isinstance(overrides, str | Mapping):
        wanted = f"[{overrides!r}]" if isinstance(overrides, str) else '["train.steps=10"]'
        raise AssemblyError(f"give a list, such as {wanted}, not {overrides!r}", "overrides")
    changed = copy.deepcopy(dict(table))
    lookup = parts or catalogue() if cls is not None and overrides else None
    faults = []
    for override in overrides:
        path, equals, text = override.partition("=")
        keys = path.strip().split(".")
        if not equals or not all(keys):
            faults.append(f"{override!r} is not an override; write key.path=value")
            continue
        try:
            _set(changed, keys, _value(text.strip()), cls, lookup)
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
    # A line break could add a second setting. No setting is a date, but a name may look like one.
    if len(parsed) > 1 or isinstance(value, datetime.date | datetime.time):
        return text
    return value


def _set(table: Any, keys: list[str], value: Any, cls: Any, parts: Catalogue | None) -> None:
    *before, last = keys
    for depth, key in enumerate(before):
        cls = _option(cls, table, key, parts)
        cls, default = (None, dict) if parts is None else _inside(cls, table, key, parts)
        if isinstance(table, dict) and key not in table:
            table[key] = default()
        inner = table[key] if isinstance(table, dict) else table[_place(table, key, keys[:depth])]
        if isinstance(inner, str):  # a part given as only its name
            inner = {"use": inner}
            _put(table, key, inner, keys[:depth])
        table = inner
    _option(cls, table, last, parts)
    if last == "use" and isinstance(table, dict) and "use" in table:
        table.clear()
    _put(table, last, value, before)


def _put(table: Any, key: str, value: Any, path: list[str]) -> None:
    if isinstance(table, dict):
        table[key] = value
    else:
        table[_place(table, key, path)] = value


def _place(table: Any, key: str, path: list[str]) -> int:
    """The index that a key gives into a list. Raises LookupError if there is no such element."""
    at = ".".join(path) or "the recipe"
    if not isinstance(table, list):
        raise LookupError(f"{at} is a plain value; it has no {key!r}")
    if not key.isdecimal() or int(key) >= len(table):
        raise LookupError(
            f"{at} is a list of {len(table)}; {key!r} isn't an index of it (they begin at 0)"
        )
    return int(key)


# --- types and defaults ---------------------------------------------------------------------------


def _option(cls: Any, table: Any, key: str, parts: Catalogue | None) -> Any:
    """The option of the union `cls` that `table` has if `key` is set in it; `cls` if it is none.

    A union of a part and a class of such parts (`Shift | StreamShifts`) has two forms: a part whose
    table gets a key of the class is repeated for each of its settings, and a table of the class
    that gets a `use` is emptied.
    """
    options = [t for t in typing.get_args(cls) if t is not type(None)]
    if not is_union(cls) or len(options) < 2 or not isinstance(table, dict) or parts is None:
        return cls
    part = next((option for option in options if is_kind(option)), None)
    classes = [option for option in options if option != part and is_class(option)]
    try:
        names = {option: [name for name, *_ in settings_of(option)] for option in classes}
    except TypeError:  # annotations that can't be resolved; reading the table reports them
        return cls
    several = next((option for option, has in names.items() if key in has), None)
    if key == "use" and option_for(table, options) in names:
        table.clear()
    elif (
        several is not None
        and "use" in table
        and all(t == part for _, _, t in settings_of(several))
        and _inside(part, table, key, parts)[0] is None  # the part has no such setting itself
    ):
        single = dict(table)
        table.clear()
        table.update({name: copy.deepcopy(single) for name in names[several]})
    return option_for(table or {key: None}, options)


def _inside(cls: Any, table: Any, key: str, parts: Catalogue) -> tuple[Any, Callable[[], Any]]:
    """The type of the setting `key` of a table of type `cls`, and a function for its default.

    The type is None if it isn't known. Faults of the table are ignored: reading it reports them.
    """
    unknown = None, dict
    options = [t for t in typing.get_args(cls) if t is not type(None)]
    if is_union(cls):
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
    """The default of a setting as a plain table, empty if it has no default."""
    default: Any = field.default
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        default = attrs.NOTHING if default.takes_self else default.factory()
    if default is attrs.NOTHING or default is None:
        return {}
    wrapper = attrs.make_class("Default", {"value": attrs.field(type=field.type)})
    try:
        return unstructure(wrapper(default), parts=parts)["value"]
    except AssemblyError:  # a part that no plugin declares
        return {}
