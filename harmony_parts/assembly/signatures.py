"""Compares a class with the protocol of its kind, by names and signatures. Runs nothing of it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, Protocol

import attrs

# the special methods that our protocols may require
_SPECIAL = ("__call__", "__len__", "__iter__", "__getitem__")
_Kind = inspect.Parameter


def faults(cls: Any, protocol: type) -> Iterator[str]:
    """Why `cls` isn't an attrs class with all members of `protocol`, one sentence per fault."""
    if not isinstance(cls, type):
        yield f"it is a {type(cls).__name__}, not a class"
        return
    if not attrs.has(cls):
        yield "it isn't a class of settings; decorate it with @attrs.frozen"
        return
    settings = {field.name for field in attrs.fields(cls)}
    if "use" in settings:
        yield "a setting can't be called 'use': this key names the part in a recipe"
    for name, expected in members(protocol).items():
        actual = next(
            (
                vars(base)[name]
                for base in cls.__mro__
                if name in vars(base) and not _is_protocol(base)
            ),
            None,
        )
        if expected is None:
            if actual is None and name not in settings:
                yield f"it has no {name!r}"
        elif actual is None:
            yield f"it has no {name}{_signature(expected)}"
        elif inspect.isfunction(actual) and (why := _differs(actual, expected)):
            yield f"{name}{_signature(actual)} {why}; the protocol is {name}{_signature(expected)}"


def members(protocol: type) -> dict[str, Any]:
    """Name -> function for each method of a protocol, `None` for each attribute or property."""
    required: dict[str, Any] = {}
    for base in reversed(protocol.__mro__):
        if not _is_protocol(base):
            continue
        required |= dict.fromkeys(getattr(base, "__annotations__", ()))
        required |= {k: None for k, v in vars(base).items() if isinstance(v, property)}
        required |= {
            k: v
            for k, v in vars(base).items()
            if inspect.isfunction(v) and (k in _SPECIAL or not k.startswith("_"))
        }
    return required


def _is_protocol(cls: type) -> bool:
    return cls is not Protocol and bool(vars(cls).get("_is_protocol", False))


def _signature(function: Any) -> str:
    """The parameters without annotations: "(n, generator, *, cache=...)"."""
    shown, star = [], False
    for p in list(inspect.signature(function).parameters.values())[1:]:
        if p.kind is _Kind.KEYWORD_ONLY and not star:
            shown.append("*")
        star = star or p.kind in (_Kind.KEYWORD_ONLY, _Kind.VAR_POSITIONAL)
        prefix = (
            "*" if p.kind is _Kind.VAR_POSITIONAL else "**" if p.kind is _Kind.VAR_KEYWORD else ""
        )
        shown.append(prefix + p.name + ("" if p.default is p.empty else "=..."))
    return f"({', '.join(shown)})"


def _differs(actual: Any, expected: Any) -> str:
    """Why a call that fits `expected` doesn't fit `actual`, "" if it fits."""
    signature, arguments = (
        inspect.signature(actual),
        inspect.signature(expected).parameters.values(),
    )
    # all arguments that the protocol allows, then only the required ones
    for chosen in (list(arguments), [p for p in arguments if p.default is p.empty]):
        positional = [
            p.name for p in chosen if p.kind in (_Kind.POSITIONAL_ONLY, _Kind.POSITIONAL_OR_KEYWORD)
        ]
        keywords = {p.name: None for p in chosen if p.kind is _Kind.KEYWORD_ONLY}
        try:
            signature.bind(*positional, **keywords)
        except TypeError as error:
            return f"can't be called as the protocol calls it ({error})"
    return ""
