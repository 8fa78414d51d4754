"""From plain tables to settings: what each type accepts.

Nothing is converted, except that a whole number is accepted for any number: 1.5 isn't a whole
number, "1" isn't a number, and a string isn't a list.
"""

from __future__ import annotations

import pathlib
import typing
from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import partial
from typing import Any

import attrs
from cattrs import Converter

from harmony_parts.assembly import signatures
from harmony_parts.assembly.catalogue import Catalogue
from harmony_parts.assembly.kinds import KINDS, kind_of
from harmony_parts.assembly.table_faults import Fault, Faults, described, each_of
from harmony_parts.assembly.table_types import (
    NONE,
    accepts_none_as_text,
    is_class,
    is_kind,
    is_list,
    is_literal,
    is_table,
    is_union,
    option_for,
    settings_of,
    type_name,
    with_article,
)
from harmony_parts.errors import HarmonyError, nearest


def register_readers(c: Converter, parts: Catalogue) -> None:
    """Register a function for every type of setting; part names are looked up in `parts`."""
    for type_, read in (
        (bool, _read_bool),
        (int, _read_int),
        (float, _read_float),
        (str, _read_str),
        (Fraction, _read_fraction),
    ):
        c.register_structure_hook(type_, read)
    c.register_structure_hook(pathlib.Path, lambda value, t: pathlib.Path(_read_str(value, t)))
    c.register_structure_hook_func(is_literal, _read_literal)
    c.register_structure_hook_func(is_list, lambda value, t: _read_list(value, t, c))
    c.register_structure_hook_func(is_table, lambda value, t: _read_table(value, t, c))
    c.register_structure_hook_func(is_class, lambda value, t: _read_class(value, t, c))
    c.register_structure_hook_func(is_union, lambda value, t: _read_union(value, t, c))
    c.register_structure_hook_func(is_kind, lambda value, t: _read_part(value, t, c, parts))


# --- plain values ---------------------------------------------------------------------------------


def _expected(value: Any, t: Any) -> TypeError:
    return TypeError(f"expected {type_name(t)}, not {described(value)}")


def _read_bool(value: Any, t: Any) -> bool:
    if not isinstance(value, bool):
        raise _expected(value, bool)
    return value


def _read_int(value: Any, t: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _expected(value, int)
    return value


def _read_float(value: Any, t: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _expected(value, float)
    return float(value)


def _read_str(value: Any, t: Any) -> str:
    if not isinstance(value, str):
        raise _expected(value, str)
    return value


def _read_fraction(value: Any, t: Any) -> Fraction:
    if isinstance(value, bool) or not isinstance(value, int | float | str | Fraction):
        raise _expected(value, Fraction)
    try:
        return Fraction(str(value))  # a float by its decimal digits: 29.97 is 2997/100
    except (ValueError, ZeroDivisionError):
        raise _expected(value, Fraction) from None


def _read_literal(value: Any, t: Any) -> Any:
    options = typing.get_args(t)
    for option in options:
        if type(option) is type(value) and option == value:
            return option
    names = [option for option in options if isinstance(option, str)]
    near = nearest(value, names) if isinstance(value, str) else ""
    raise TypeError(f"{_expected(value, t)}{near}")


# --- lists, tables, unions ------------------------------------------------------------------------


def _read_list(value: Any, t: Any, c: Converter) -> Any:
    origin, inner = typing.get_origin(t) or t, typing.get_args(t)
    if not isinstance(value, list | tuple | set | frozenset):
        raise _expected(value, t)
    if origin is tuple and inner and inner[-1] is not Ellipsis:
        if len(value) != len(inner):
            raise ValueError(f"expected a list of {len(inner)}, not of {len(value)}")
    else:
        inner = (inner[0] if inner else Any,) * len(value)
    read = each_of(
        (i, partial(c.structure, v, of)) for i, (v, of) in enumerate(zip(value, inner, strict=True))
    )
    return read if origin is list else tuple(read) if origin is Sequence else origin(read)


def _read_table(value: Any, t: Any, c: Converter) -> dict[Any, Any]:
    if not isinstance(value, Mapping):
        raise _expected(value, t)
    key, inner = typing.get_args(t) or (str, Any)
    keys = each_of((str(k), partial(c.structure, k, key)) for k in value)
    values = each_of((str(k), partial(c.structure, v, inner)) for k, v in value.items())
    return dict(zip(keys, values, strict=True))


def _read_union(value: Any, t: Any, c: Converter) -> Any:
    options = [option for option in typing.get_args(t) if option is not type(None)]
    may_be_none = len(options) < len(typing.get_args(t))
    text_first = any(map(accepts_none_as_text, options))
    if may_be_none and (value is None or value == NONE and not text_first):
        return None
    failed = []
    for option in options:
        try:
            return c.structure(value, option)
        except Exception as error:
            failed.append((option, error))
    # If only one option has the right form, its faults help more than "expected this or that".
    if len(failed) > 1:
        meant = option_for(value, options) if isinstance(value, Mapping) else None
        failed = [(option, error) for option, error in failed if option == meant]
    raise failed[0][1] if len(failed) == 1 else _expected(value, t)


# --- classes of settings --------------------------------------------------------------------------


def _read_class(value: Any, t: Any, c: Converter) -> Any:
    cls = typing.get_origin(t) or t
    if isinstance(value, cls):
        return value
    if not isinstance(value, Mapping):
        raise TypeError(f"expected a table of {cls.__name__}, not {described(value)}")
    settings = {name: (a, type_) for name, a, type_ in settings_of(t)}
    faults = _unknown_settings(value, cls, settings)
    given: dict[str, Any] = {}
    for name, (a, type_) in settings.items():
        if name in value:
            try:
                given[name] = c.structure(value[name], type_)
            except Exception as error:
                faults.append((name, error))
        elif a.default is attrs.NOTHING:
            about = f" ({a.metadata['help']})" if a.metadata.get("help") else ""
            faults.append((name, TypeError(f"missing: expected {type_name(type_)}{about}")))
    if faults:
        faults += _validated_alone({name: settings[name][0] for name in given}, given)
        raise Faults(faults)
    try:
        return cls(**given)
    except Exception as error:
        raise Faults(_validated(cls, given) or [("", error)]) from error


def _unknown_settings(
    table: Mapping[Any, Any], cls: type, settings: Mapping[str, Any]
) -> list[Fault]:
    has = f"{cls.__name__} has {', '.join(settings) or 'no settings'}"
    return [
        (str(key), TypeError(f"unknown setting{nearest(str(key), settings)}; {has}"))
        for key in table
        if key not in settings
    ]


def _validated(cls: Any, given: Mapping[str, Any]) -> list[Fault]:
    """The fault of every validator.

    The `__init__` that attrs writes stops at the first one and doesn't name its setting.
    """
    try:
        with attrs.validators.disabled():
            made = cls(**given)
    except Exception:
        return []
    faults: list[Fault] = []
    for name, a, _ in settings_of(cls):
        try:
            if a.validator is not None:
                a.validator(made, a, getattr(made, a.name))
        except Exception as error:
            faults.append((name, error))
    return faults


def _validated_alone(
    settings: Mapping[str, attrs.Attribute[Any]], given: Mapping[str, Any]
) -> list[Fault]:
    """The faults of validators that need no instance, for a class that can't be instantiated."""
    faults: list[Fault] = []
    for name, a in settings.items():
        if a.validator is None or a.converter is not None:
            continue
        try:
            a.validator(None, a, given[name])
        except ValueError as error:
            faults.append((name, error))
        except Exception:  # it reads other settings; it runs once these are correct
            continue
    return faults


# --- parts ----------------------------------------------------------------------------------------


def _read_part(value: Any, t: Any, c: Converter, parts: Catalogue) -> Any:
    kind = str(kind_of(t))
    if is_class(type(value)):  # an instance made in Python
        for fault in signatures.faults(type(value), t):
            raise TypeError(
                f"{type(value).__qualname__} is not {with_article(KINDS[kind])}: {fault}"
            )
        return value
    label = with_article(KINDS[kind])
    table = {"use": value} if isinstance(value, str) else value
    if not isinstance(table, Mapping):
        raise TypeError(f"expected {label} (a table with `use`, or a name), not {described(value)}")
    if not isinstance(table.get("use"), str):
        wrong = f"it is {described(table['use'])}" if "use" in table else "missing"
        names = ", ".join(d.name for d in parts.list(kind))
        cause = f"{wrong}: expected the name of {label}; available: {names}"
        raise Faults([("use", TypeError(cause))])
    try:
        cls = parts.load(kind, table["use"])
    except HarmonyError as error:
        raise Faults([("use", error)]) from error
    return c.structure({key: inner for key, inner in table.items() if key != "use"}, cls)
