"""Changes to a recipe's table from the command line: `train.steps=10`, `sample.guidance.use=cfg`, `metrics.0.tolerance=0.05`."""

from __future__ import annotations

import copy
import datetime
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from harmony_parts.errors import AssemblyError


def apply_overrides(table: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """A copy of a plain table with each "key.path=value" set, in order. Values are TOML; what isn't TOML is a string.

    Setting `x.use` exchanges the part: its old settings go, since they are another part's. A number in a path is a place in a list. Raises
    AssemblyError for what is no override, or leads nowhere.
    """
    changed = copy.deepcopy(dict(table))
    faults = []
    for override in overrides:
        path, equals, text = override.partition("=")
        keys = path.strip().split(".")
        if not equals or not all(keys):
            faults.append(f"{override!r} is no override; write key.path=value")
            continue
        try:
            _set(changed, keys, _value(text.strip()))
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
    # A line break could smuggle in a second setting; and no setting is a date, but a name may look like one.
    if len(parsed) > 1 or isinstance(value, datetime.date | datetime.time):
        return text
    return value


def _set(table: Any, keys: list[str], value: Any) -> None:
    *before, last = keys
    for depth, key in enumerate(before):
        inner = _get(table, key, keys[:depth])
        if isinstance(inner, str):  # a part by its name alone
            inner = {"use": inner}
            _put(table, key, inner, keys[:depth])
        elif last == "use" and depth == len(before) - 1 and isinstance(inner, dict):
            inner.clear()
        table = inner
    _put(table, last, value, before)


def _get(table: Any, key: str, path: list[str]) -> Any:
    if isinstance(table, dict):
        return table.setdefault(key, {})
    return table[_place(table, key, path)]


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
        raise LookupError(f"{where} is a list of {len(table)}; {key!r} isn't a place in it (from 0)")
    return int(key)
