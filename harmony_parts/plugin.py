"""Everything that the author of a plugin imports.

A plugin is a module (or any object) with hooks that yield declarations:

    from harmony_parts.plugin import hookimpl, part

    @hookimpl
    def harmony_guidance():
        yield part("half", "harmony_half:Half", summary="Halves the effect of its inner guidance.")

Its package names that module in pyproject.toml:

    [project.entry-points.harmony_parts]
    half = "harmony_half"

`harmony_parts.hookspecs` lists the hooks.
"""

from __future__ import annotations

import contextlib
import typing
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import attrs
import pluggy

PROJECT = "harmony_parts"
hookimpl = pluggy.HookimplMarker(PROJECT)


@attrs.frozen
class PartDeclaration:
    """A declared part: name, class ("package.module:Class"), one sentence, and a citation."""

    name: str
    target: str
    summary: str
    source: str = ""


def part(name: str, target: str, *, summary: str, source: str = "") -> PartDeclaration:
    """Declare a part. Its class is imported when it is first used, not before.

    `target` names the class, "package.module:Class". `summary` is one sentence. `source` cites the
    method, for example "arXiv:2210.02747".
    """
    return PartDeclaration(name, target, summary, source)


def knob(
    default: Any = attrs.NOTHING,
    *,
    help: str,
    unit: str = "",
    off: Any = None,
    source: str = "",
    validator: Any = None,
    converter: Any = None,
) -> Any:
    """A setting of a part, with its documentation: an `attrs.field` with metadata.

    `help` describes the setting in a phrase without capital or final period. `off` is the value at
    which it has no effect. `source` is the origin of the default. `validator` and `converter` are
    those of attrs. A setting that takes a part refuses its name or class with a TypeError.
    """
    metadata = {"help": help, "unit": unit, "off": off, "source": source}
    given = validator if isinstance(validator, list | tuple) else [validator]
    checks = [_check_part, *map(_in_words, filter(None, given))]
    return attrs.field(default=default, validator=checks, converter=converter, metadata=metadata)


def _in_words(check: Any) -> Any:
    """A validator whose error is one sentence, without the field and the options of attrs."""

    def in_words(holder: Any, field: attrs.Attribute[Any], value: Any) -> None:
        try:
            check(holder, field, value)
        except (TypeError, ValueError) as error:
            if len(error.args) < 2:
                raise
            raise type(error)(error.args[0]) from None

    return in_words


def _check_part(holder: Any, field: attrs.Attribute[Any], value: Any) -> None:
    """Raise TypeError if `value` is, or holds, a name or a class in place of a part.

    Names are for recipes; a class is a part only once it has its settings.
    """
    each = value.values() if isinstance(value, Mapping) else value
    each = each if isinstance(value, tuple | list | Mapping) else (value,)
    wrong = [x for x in each if isinstance(x, str) or (isinstance(x, type) and attrs.has(x))]
    if not wrong:
        return
    # A recipe's reader has resolved types, and no holder yet; those of a class in a function can't.
    if attrs.has(type(holder)):
        with contextlib.suppress(NameError):
            attrs.resolve_types(type(holder))
    for kind in (field.type, *typing.get_args(field.type)):
        if getattr(kind, "_is_protocol", False):
            takes = f"{type(holder).__name__}.{field.alias} takes a part ({kind.__name__}), not the"
            if isinstance(wrong[0], type):
                name = wrong[0].__name__
                raise TypeError(f"{takes} class {name}: make the part, {name}(...)")
            raise TypeError(
                f"{takes} name {wrong[0]!r}: in Python give the part itself; names are for recipes"
            )


def default_part(target: str, **settings: Any) -> Any:
    """A default for a setting that takes a part of another kind.

        inner: Guidance = knob(default_part("package.module:Class", scale=2.0), help=...)

    The class is imported when the default is first needed, so no part imports a part of another
    kind. `settings` are passed to the class.
    """

    def make() -> Any:
        module, _, name = target.partition(":")
        return getattr(import_module(module), name)(**settings)

    return attrs.Factory(make)


def default_parts(*targets: str) -> Any:
    """A default for a setting that takes several parts of another kind: a tuple, in this order."""
    return attrs.Factory(lambda: tuple(default_part(target).factory() for target in targets))
