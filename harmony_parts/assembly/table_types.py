"""The types that settings may have: how to recognize them, and what messages call them."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, Literal, TypeVar, Union

import attrs

from harmony_parts.assembly.kinds import KINDS, Kind, kind_of
from harmony_parts.assembly.table_faults import described
from harmony_parts.errors import nearest

# TOML has no null. This is how an absent value is written if omitting it would mean its default.
NONE = "none"
_DESCRIBED = {
    int: "a whole number",
    float: "a number",
    str: "a string",
    bool: "true or false",
    Fraction: 'a fraction ("30000/1001", 25)',
    type(None): f'"{NONE}"',
}


def is_literal(t: Any) -> bool:
    """Whether a type is `Literal[...]`."""
    origin: Any = typing.get_origin(t)
    return origin is Literal


def is_list(t: Any) -> bool:
    """Whether values of this type are lists in a table: tuples, lists, sets, sequences."""
    return (typing.get_origin(t) or t) in (tuple, list, set, frozenset, Sequence)


def is_table(t: Any) -> bool:
    """Whether a type is a mapping with free keys."""
    return (typing.get_origin(t) or t) in (dict, Mapping)


def is_class(t: Any) -> bool:
    """Whether a type is a class of settings (attrs), generic or not."""
    return attrs.has(typing.get_origin(t) or t)


def is_kind(t: Any) -> bool:
    """Whether a type is the protocol of a kind, so that the setting takes a part."""
    return kind_of(t) is not None


def is_union(t: Any) -> bool:
    """Whether a type is `A | B`, with or without None."""
    return typing.get_origin(t) in (Union, types.UnionType)


def option_for(table: Mapping[Any, Any], options: Sequence[Any]) -> Any:
    """The option of a union that a table is meant for, `None` if that isn't clear.

    A table with `use` is a part; one with a setting of a class, or nearly one, is of that class.
    """
    kinds = [option for option in options if is_kind(option)]
    classes = [option for option in options if is_class(option) and not is_kind(option)]
    if "use" not in table:
        for cls in classes:
            names = [name for name, *_ in settings_of(cls)]
            if any(key in names or nearest(str(key), names) for key in table):
                return cls
    found = kinds or classes
    return found[0] if len(found) == 1 else None


def accepts_none_as_text(t: Any) -> bool:
    """Whether "none" is a valid value of this type, so that it can't stand for an absent one."""
    return (
        t in (str, Any)
        or is_kind(t)
        or typing.get_origin(t) is Literal
        and NONE in typing.get_args(t)
    )


def type_name(t: Any) -> str:
    """What messages call a type: "a whole number", "a guidance"."""
    if t in _DESCRIBED:
        return _DESCRIBED[t]
    if kind := kind_of(t):
        return with_article(KINDS[kind])
    if is_union(t):
        return " or ".join(type_name(a) for a in typing.get_args(t) if a is not type(None))
    if is_literal(t):
        return " or ".join(described(a) for a in typing.get_args(t))
    if is_list(t) and typing.get_origin(t) is not Sequence:
        return "a list"
    if is_table(t) or is_class(t):
        return "a table"
    return getattr(t, "__name__", str(t))


def with_article(kind: Kind) -> str:
    """ "an encoder", "a guidance"."""
    return f"{'an' if str(kind)[0] in 'aeiou' else 'a'} {kind}"


def settings_of(cls: Any) -> list[tuple[str, attrs.Attribute[Any], Any]]:
    """(name in a table, attribute, type) of every setting of an attrs class.

    The type parameters of a generic class such as `AV[float]` are replaced by their arguments.
    Raises TypeError if an annotation can't be resolved at run time.
    """
    origin = typing.get_origin(cls) or cls
    try:
        attrs.resolve_types(origin, include_extras=False)
    except NameError as error:
        raise TypeError(
            f"the annotations of {origin.__module__}.{origin.__qualname__} can't be resolved:"
            f" {error}; import the name outside `if TYPE_CHECKING` too"
        ) from error
    given = dict(zip(getattr(origin, "__parameters__", ()), typing.get_args(cls), strict=False))
    return [(str(a.alias), a, _substitute(a.type, given)) for a in attrs.fields(origin) if a.init]


def _substitute(t: Any, given: Mapping[Any, Any]) -> Any:
    """A type with its type variables replaced."""
    if isinstance(t, TypeVar):
        return given.get(t, Any)
    free = getattr(t, "__parameters__", ()) if typing.get_origin(t) else ()
    return t[tuple(given.get(p, Any) for p in free)] if free else t
