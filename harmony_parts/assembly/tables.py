"""Plain tables <-> classes of settings.

A setting annotated with the protocol of a kind takes a part: a table with `use`, or just the part's
name. All faults of a table are reported together, each with its `$.path`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from cattrs import Converter

from harmony_parts.assembly.catalogue import Catalogue, catalogue
from harmony_parts.assembly.declared import Declared
from harmony_parts.assembly.kinds import kind_name
from harmony_parts.assembly.table_faults import flatten
from harmony_parts.assembly.table_reader import register_readers
from harmony_parts.assembly.table_writer import OnPart, plain, register_writers, write_part
from harmony_parts.errors import AssemblyError

T = TypeVar("T")


def structure(
    table: Any, cls: type[T], *, parts: Catalogue | None = None, name: str = "recipe"
) -> T:
    """An instance of the attrs class `cls` from a plain table.

    Raises AssemblyError with every fault of the table.
    """
    parts = parts or catalogue()
    try:
        return _converter(parts).structure(table, cls)
    except Exception as error:
        faults = [f"{path}: {message}" for path, message in flatten(error, "$")]
        # the failed plugins are listed once, at the end
        blamed = [fault.removesuffix(parts.blame()) for fault in faults]
        blame = parts.blame() if blamed != faults else ""
        raise AssemblyError([*blamed[:-1], blamed[-1] + blame], name) from error


def unstructure(
    value: Any, *, parts: Catalogue | None = None, kind: str | None = None, name: str = "recipe"
) -> dict[str, Any]:
    """The plain table of an instance: every setting, and the qualified name of each part as `use`.

    Pass `kind` if the instance is itself a part of that kind. Raises AssemblyError if a value can't
    be written to TOML, or no plugin declares a part.
    """
    parts = parts or catalogue()
    converter = _converter(parts)
    with _faults_with_paths(name):
        table = (
            write_part(value, kind_name(kind), converter, parts, _ignore)
            if kind
            else converter.unstructure(value)
        )
        written: dict[str, Any] = plain(table)
        return written


def parts_in(value: Any, parts: Catalogue | None = None) -> set[Declared]:
    """The declarations of all parts inside an instance, without the instance itself.

    Raises AssemblyError if no plugin declares one of them.
    """
    parts, found = parts or catalogue(), set[Declared]()
    with _faults_with_paths("recipe"):
        _converter(parts, found.add).unstructure(value)
    return found


@contextmanager
def _faults_with_paths(name: str) -> Iterator[None]:
    """Turn an error of writing into an AssemblyError that lists every fault."""
    try:
        yield
    except Exception as error:
        raise AssemblyError(
            [f"{path}: {message}" for path, message in flatten(error, "$")], name
        ) from error


def _ignore(declared: Declared) -> None:
    """The default for `on_part`: does nothing."""


def _converter(parts: Catalogue, on_part: OnPart = _ignore) -> Converter:
    """cattrs chooses a function by type; ours decide what each type accepts."""
    c = Converter(detailed_validation=True)
    register_readers(c, parts)
    register_writers(c, parts, on_part)
    return c
