"""Plain tables <-> classes of settings. A setting annotated with a kind's protocol takes a part: a
table with `use`, or just a part's name.

Everything that is wrong with a table is told at once, each fault with its `$.path`. Nothing is
converted on the way, except a whole number where any number will do: 1.5 is no whole number, "1" is
no number, and no string is a list.
"""

from __future__ import annotations

import pathlib
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import partial
from typing import Any, Literal, TypeVar, Union

import attrs
from cattrs import Converter

from harmony_parts.assembly import signatures
from harmony_parts.assembly.catalogue import Catalogue, catalogue
from harmony_parts.assembly.declared import Declared
from harmony_parts.assembly.kinds import KINDS, Kind, kind_name, kind_of
from harmony_parts.assembly.table_faults import Fault, Faults, called, each_of, flatten
from harmony_parts.errors import AssemblyError, HarmonyError, nearest

T = TypeVar("T")
# TOML has no null: how an absent value is written where leaving it out would mean something else
NONE = "none"

Seen = Callable[[Declared], object]


def structure(
    table: Any, cls: type[T], *, parts: Catalogue | None = None, where: str = "recipe"
) -> T:
    """An instance of `cls` (an attrs class) from a plain table. Raises AssemblyError with every
    fault in it.
    """
    known = parts or catalogue()
    try:
        return _converter(known).structure(table, cls)
    except Exception as error:
        faults = [f"{path}: {message}" for path, message in flatten(error, "$")]
        # the plugins that failed are named once, at the end
        blamed = [fault.removesuffix(known.blame()) for fault in faults]
        raise AssemblyError(
            [*blamed[:-1], blamed[-1] + (known.blame() if blamed != faults else "")], where
        ) from error


def unstructure(
    value: Any, *, parts: Catalogue | None = None, kind: str | None = None, where: str = "recipe"
) -> dict[str, Any]:
    """The plain table of an instance: every setting written out, `use` with the qualified name of
    each part.

    `kind` says that the instance is itself a part of that kind. Raises AssemblyError for what can't
    be written.
    """
    known = parts or catalogue()
    converter = _converter(known)
    try:
        return _plain(
            _write_part(value, kind_name(kind), converter, known)
            if kind
            else converter.unstructure(value)
        )
    except Exception as error:
        raise AssemblyError(
            [f"{path}: {message}" for path, message in flatten(error, "$")], where
        ) from error


def parts_in(value: Any, parts: Catalogue | None = None) -> set[Declared]:
    """The declarations of all parts inside an instance (not of the instance itself). Raises as
    `unstructure`.
    """
    known, seen = parts or catalogue(), set[Declared]()
    converter = _converter(known, seen.add)
    try:
        converter.unstructure(value)
    except Exception as error:
        raise AssemblyError(
            [f"{path}: {message}" for path, message in flatten(error, "$")]
        ) from error
    return seen


def _ignore(declared: Declared) -> None:
    """Hears of a part, and makes nothing of it."""


# --- types ----------------------------------------------------------------------------------------


def _is_union(t: Any) -> bool:
    return typing.get_origin(t) in (Union, types.UnionType)


def _name(t: Any) -> str:
    """A type, for a message."""
    plain = {
        int: "a whole number",
        float: "a number",
        str: "a string",
        bool: "true or false",
        Fraction: 'a fraction ("30000/1001", 25)',
    }
    if t in plain:
        return plain[t]
    if t is type(None):
        return f'"{NONE}"'
    if kind := kind_of(t):
        return _a(KINDS[kind])
    if _is_union(t):
        return " or ".join(_name(a) for a in typing.get_args(t) if a is not type(None))
    origin: Any = typing.get_origin(t) or t
    if origin is Literal:
        return " or ".join(called(a) for a in typing.get_args(t))
    if origin in (tuple, list, set, frozenset):
        return "a list"
    if origin is dict or origin is Mapping or attrs.has(origin):
        return "a table"
    return getattr(t, "__name__", str(t))


def _a(kind: Kind) -> str:
    return f"{'an' if str(kind)[0] in 'aeiou' else 'a'} {kind}"


def _settings(cls: Any) -> list[tuple[str, attrs.Attribute[Any], Any]]:
    """The settings of an attrs class, of a generic one (`AV[float]`) too: what each is called in a
    table, the attribute, and its type.
    """
    origin = typing.get_origin(cls) or cls
    try:
        attrs.resolve_types(origin, include_extras=False)
    except NameError as error:
        whose = f"{origin.__module__}.{origin.__qualname__}"
        raise TypeError(
            f"the annotations of {whose} can't be resolved: {error}; import it at run time, too"
        ) from error
    given = dict(zip(getattr(origin, "__parameters__", ()), typing.get_args(cls), strict=False))
    return [(str(a.alias), a, _substitute(a.type, given)) for a in attrs.fields(origin) if a.init]


def _substitute(t: Any, given: Mapping[Any, Any]) -> Any:
    if isinstance(t, TypeVar):
        return given.get(t, Any)
    free = getattr(t, "__parameters__", ()) if typing.get_origin(t) else ()
    return t[tuple(given.get(p, Any) for p in free)] if free else t


# --- dispatch -------------------------------------------------------------------------------------


def _converter(parts: Catalogue, seen: Seen = _ignore) -> Converter:
    """cattrs finds the function for a type; the functions below say what each type accepts. `seen`
    hears of each part that is written.
    """
    c = Converter(detailed_validation=True)
    for type_, read in (
        (bool, _read_bool),
        (int, _read_int),
        (float, _read_float),
        (str, _read_str),
        (Fraction, _read_fraction),
    ):
        c.register_structure_hook(type_, read)
    c.register_structure_hook(pathlib.Path, lambda value, t: pathlib.Path(_read_str(value, t)))
    c.register_unstructure_hook(Fraction, str)
    c.register_unstructure_hook(pathlib.PurePath, str)
    c.register_structure_hook_func(_is_literal, _read_literal)
    c.register_structure_hook_func(_is_list, lambda value, t: _read_list(value, t, c))
    c.register_structure_hook_func(_is_table, lambda value, t: _read_table(value, t, c))
    c.register_structure_hook_func(_is_class, lambda value, t: _read_class(value, t, c))
    c.register_structure_hook_func(_is_union, lambda value, t: _read_union(value, t, c))
    c.register_structure_hook_func(_is_kind, lambda value, t: _read_part(value, t, c, parts))
    c.register_unstructure_hook_factory(_is_list, lambda t: lambda value: _write_list(value, t, c))
    c.register_unstructure_hook_factory(
        _is_table, lambda t: lambda value: _write_table(value, t, c)
    )
    c.register_unstructure_hook_factory(
        _is_class, lambda t: lambda value: _write_class(value, t, c)
    )
    c.register_unstructure_hook_factory(
        _is_union, lambda t: lambda value: _write_union(value, t, c)
    )
    c.register_unstructure_hook_factory(
        _is_kind, lambda t: lambda value: _write_part(value, str(kind_of(t)), c, parts, seen)
    )
    return c


def _is_literal(t: Any) -> bool:
    origin: Any = typing.get_origin(t)
    return origin is Literal


def _is_list(t: Any) -> bool:
    return (typing.get_origin(t) or t) in (tuple, list, set, frozenset, Sequence)


def _is_table(t: Any) -> bool:
    return (typing.get_origin(t) or t) in (dict, Mapping)


def _is_class(t: Any) -> bool:
    return attrs.has(typing.get_origin(t) or t)


def _is_kind(t: Any) -> bool:
    return kind_of(t) is not None


# --- tables to settings ---------------------------------------------------------------------------


def _expected(value: Any, t: Any) -> TypeError:
    return TypeError(f"expected {_name(t)}, not {called(value)}")


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
        return Fraction(str(value))  # of a float, too, what is written counts: 29.97 is 2997/100
    except (ValueError, ZeroDivisionError):
        raise _expected(value, Fraction) from None


def _read_literal(value: Any, t: Any) -> Any:
    options = typing.get_args(t)
    for option in options:
        if type(option) is type(value) and option == value:
            return option
    near = (
        nearest(value, (o for o in options if isinstance(o, str))) if isinstance(value, str) else ""
    )
    raise TypeError(f"expected {_name(t)}, not {called(value)}{near}")


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
    return dict(
        zip(
            keys,
            each_of((str(k), partial(c.structure, v, inner)) for k, v in value.items()),
            strict=True,
        )
    )


def _read_union(value: Any, t: Any, c: Converter) -> Any:
    options = [option for option in typing.get_args(t) if option is not type(None)]
    if len(options) < len(typing.get_args(t)) and (
        value is None or value == NONE and not any(map(_takes_none_as_text, options))
    ):
        return None
    failed = []
    for option in options:
        try:
            return c.structure(value, option)
        except Exception as error:
            failed.append((option, error))
    # The faults of the only option of the right form are of more use than "expected this or that".
    if len(failed) > 1:
        failed = [
            (option, error)
            for option, error in failed
            if isinstance(value, Mapping) and (_is_class(option) or _is_kind(option))
        ]
    raise failed[0][1] if len(failed) == 1 else _expected(value, t)


def _takes_none_as_text(t: Any) -> bool:
    """Whether "none" is a value of this type, so that it can't stand for an absent one."""
    return (
        t in (str, Any)
        or _is_kind(t)
        or typing.get_origin(t) is Literal
        and NONE in typing.get_args(t)
    )


def _read_class(value: Any, t: Any, c: Converter) -> Any:
    cls = typing.get_origin(t) or t
    if isinstance(value, cls):
        return value
    if not isinstance(value, Mapping):
        raise TypeError(f"expected a table of {cls.__name__}, not {called(value)}")
    settings = {name: (a, type_) for name, a, type_ in _settings(t)}
    faults: list[Fault] = []
    for key in value:
        if key not in settings:
            has = (
                f"{cls.__name__} has {', '.join(settings)}"
                if settings
                else f"{cls.__name__} has no settings"
            )
            faults.append(
                (str(key), TypeError(f"unknown setting{nearest(str(key), settings)}; {has}"))
            )
    given: dict[str, Any] = {}
    for name, (a, type_) in settings.items():
        if name in value:
            try:
                given[name] = c.structure(value[name], type_)
            except Exception as error:
                faults.append((name, error))
        elif a.default is attrs.NOTHING:
            about = a.metadata.get("help")
            faults.append(
                (
                    name,
                    TypeError(
                        f"missing: expected {_name(type_)}" + (f" ({about})" if about else "")
                    ),
                )
            )
    if not faults:
        try:
            return cls(**given)
        except Exception as error:
            faults = _invalid(cls, given) or [("", error)]
    else:
        faults += _invalid_alone({name: settings[name][0] for name in given}, given)
    raise Faults(faults)


def _invalid(cls: Any, given: Mapping[str, Any]) -> list[Fault]:
    """What each validator says: attrs' own __init__ stops at the first, and doesn't say which it
    was.
    """
    try:
        with attrs.validators.disabled():
            made = cls(**given)
    except Exception:
        return []
    faults: list[Fault] = []
    for name, a, _ in _settings(cls):
        try:
            if a.validator is not None:
                a.validator(made, a, getattr(made, a.name))
        except Exception as error:
            faults.append((name, error))
    return faults


def _invalid_alone(
    settings: Mapping[str, attrs.Attribute[Any]], given: Mapping[str, Any]
) -> list[Fault]:
    """What the validators say that need no instance, for a class that can't be made."""
    faults: list[Fault] = []
    for name, a in settings.items():
        if a.validator is None or a.converter is not None:
            continue
        try:
            a.validator(None, a, given[name])
        except ValueError as error:
            faults.append((name, error))
        except Exception:  # it looks at other settings: it is heard once these are right
            continue
    return faults


def _read_part(value: Any, t: Any, c: Converter, parts: Catalogue) -> Any:
    kind = str(kind_of(t))
    if _is_class(type(value)):  # made in Python
        for fault in signatures.faults(type(value), t):
            raise TypeError(f"{type(value).__qualname__} is no {KINDS[kind]}: {fault}")
        return value
    table = {"use": value} if isinstance(value, str) else value
    if not isinstance(table, Mapping):
        raise TypeError(
            f"expected {_a(KINDS[kind])} (a table with `use`, or a name), not {called(value)}"
        )
    names = ", ".join(d.name for d in parts.list(kind))
    if not isinstance(table.get("use"), str):
        wrong = f"it is {called(table['use'])}" if "use" in table else "missing"
        raise Faults(
            [
                (
                    "use",
                    TypeError(
                        f"{wrong}: expected the name of {_a(KINDS[kind])}; there are: {names}"
                    ),
                )
            ]
        )
    try:
        cls = parts.load(kind, table["use"])
    except HarmonyError as error:
        raise Faults([("use", error)]) from error
    return c.structure({key: inner for key, inner in table.items() if key != "use"}, cls)


# --- settings to tables ---------------------------------------------------------------------------


def _write_class(value: Any, t: Any, c: Converter) -> dict[str, Any]:
    values = {
        name: (getattr(value, a.name), of)
        for name, a, of in _settings(t)
        if getattr(value, a.name) is not None or a.default is not None
    }
    return dict(
        zip(
            values,
            each_of(
                (name, partial(c.unstructure, v, unstructure_as=of))
                for name, (v, of) in values.items()
            ),
            strict=True,
        )
    )


def _write_part(
    value: Any, kind: str, c: Converter, parts: Catalogue, seen: Seen = _ignore
) -> dict[str, Any]:
    declared = parts.declared(value, kind)
    seen(declared)
    return {"use": declared.qualified, **_write_class(value, type(value), c)}


def _write_list(value: Any, t: Any, c: Converter) -> list[Any]:
    inner = typing.get_args(t) or (Any, ...)
    each = (
        inner if len(inner) == len(value) and inner[-1] is not Ellipsis else inner[:1] * len(value)
    )
    written = each_of(
        (i, partial(c.unstructure, v, unstructure_as=of))
        for i, (v, of) in enumerate(zip(value, each, strict=True))
    )
    return sorted(written) if isinstance(value, set | frozenset) else written


def _write_table(value: Any, t: Any, c: Converter) -> dict[str, Any]:
    inner = (typing.get_args(t) or (str, Any))[1]
    return dict(
        zip(
            map(str, value),
            each_of(
                (str(k), partial(c.unstructure, v, unstructure_as=inner)) for k, v in value.items()
            ),
            strict=True,
        )
    )


def _write_union(value: Any, t: Any, c: Converter) -> Any:
    options = typing.get_args(t)
    if value is None:
        if any(map(_takes_none_as_text, options)):
            raise ValueError(
                "None can't be written here: TOML has no null, leaving it out would mean the"
                " default, and 'none' is a name"
            )
        return NONE
    for option in options:
        origin = typing.get_origin(option) or option
        if (
            _is_class(type(value))
            if _is_kind(option)
            else isinstance(origin, type) and isinstance(value, origin)
        ):
            return c.unstructure(value, unstructure_as=option)
    return c.unstructure(value)


def _plain(value: Any) -> Any:
    """The same in TOML's own types. Raises where something else is left."""
    if isinstance(value, Mapping):
        return dict(
            zip(
                value,
                each_of((key, partial(_plain, inner)) for key, inner in value.items()),
                strict=True,
            )
        )
    if isinstance(value, list | tuple):
        return each_of((i, partial(_plain, inner)) for i, inner in enumerate(value))
    for type_ in (bool, int, float, str):
        if isinstance(value, type_):
            return type_(value)
    raise TypeError(
        f"{value!r} can't be written to a recipe: a setting is a plain value, a class of settings,"
        " or a part"
    )
