"""Faults in nested tables: collected, each under its key, and told with their `$.path`s."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from cattrs.errors import (
    IterableValidationError,
    IterableValidationNote,
    StructureHandlerNotFoundError,
)

from harmony_parts.errors import AssemblyError, HarmonyError

Fault = tuple[int | str, Exception]  # what went wrong under which key ("" for the table itself)


class Faults(Exception):
    """All that went wrong in one table or list."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__(faults)
        self.faults = faults


def flatten(error: Exception, path: str) -> Iterator[tuple[str, str]]:
    """(path, message) of every fault inside an error."""
    if isinstance(error, Faults):
        for key, inner in error.faults:
            yield from flatten(inner, path if key == "" else path + _step(key))
    elif isinstance(error, IterableValidationError):
        for inner in error.exceptions:
            note = next(
                (
                    n
                    for n in getattr(inner, "__notes__", ())
                    if isinstance(n, IterableValidationNote)
                ),
                None,
            )
            yield from flatten(inner, path if note is None else path + _step(note.index))
    elif isinstance(error, AssemblyError):
        for fault in error.faults:
            inside, _, message = (
                fault.partition(": ") if fault.startswith("$") else ("$", "", fault)
            )
            yield path + inside[1:], message
    elif isinstance(error, StructureHandlerNotFoundError):
        yield (
            path,
            (
                f"its type can't be read from a table: {error}; a setting is a plain value, a class"
                " of settings, or a part"
            ),
        )
    elif isinstance(error, HarmonyError):
        yield path, str(error)
    elif (
        isinstance(error, ValueError | TypeError) and error.args and isinstance(error.args[0], str)
    ):
        # attrs' validators add the attribute and the value as further arguments
        yield path, error.args[0]
    else:
        yield path, f"{type(error).__name__}: {error}"


def _step(key: int | str) -> str:
    if isinstance(key, int):
        return f"[{key}]"
    return (
        f".{key}"
        if key and all(c.isalnum() and c.isascii() or c in "-_" for c in key)
        else f'."{key}"'
    )


def called(value: object) -> str:
    """A value, for a message, in TOML's terms."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, list | tuple):
        return "a list"
    return repr(value)


def each_of(jobs: Iterable[tuple[int | str, Callable[[], Any]]]) -> list[Any]:
    """The results of all jobs, or the faults of all, each under its key."""
    done: list[Any] = []
    faults: list[Fault] = []
    for key, job in jobs:
        try:
            done.append(job())
        except Exception as error:
            faults.append((key, error))
    if faults:
        raise Faults(faults)
    return done
