"""Faults in nested tables: collected under their keys, then listed with their `$.path`s."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from cattrs.errors import (
    IterableValidationError,
    IterableValidationNote,
    StructureHandlerNotFoundError,
)

from harmony_parts.errors import AssemblyError, HarmonyError, notes

Fault = tuple[int | str, Exception]  # key ("" for the table itself) and what is wrong there


class Faults(Exception):
    """All faults of one table or list."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__(faults)
        self.faults = faults


def flatten(error: Exception, path: str) -> Iterator[tuple[str, str]]:
    """(path, message) of every fault inside an error that occurred at `path`."""
    if isinstance(error, Faults):
        for key, inner in error.faults:
            yield from flatten(inner, path if key == "" else path + _step(key))
    elif isinstance(error, IterableValidationError):
        for inner in error.exceptions:
            yield from flatten(inner, path + _step_of_note(inner))
    elif isinstance(error, AssemblyError):
        for fault in error.faults:
            inside, _, message = (
                fault.partition(": ") if fault.startswith("$") else ("$", "", fault)
            )
            yield path + inside[1:], message
    else:
        yield path, _message(error)


def _message(error: Exception) -> str:
    if isinstance(error, StructureHandlerNotFoundError):
        return (
            f"its type can't be read from a table: {error}; a setting is a plain value, a class of"
            " settings, or a part"
        )
    if isinstance(error, HarmonyError):
        return str(error)
    if isinstance(error, ValueError | TypeError) and error.args and isinstance(error.args[0], str):
        # attrs' validators add the attribute and the value as further arguments
        return error.args[0]
    return f"{type(error).__name__}: {error}"


def _step_of_note(error: BaseException) -> str:
    """The step that cattrs noted on an error inside an iterable, "" if there is none."""
    note = next((n for n in notes(error) if isinstance(n, IterableValidationNote)), None)
    return "" if note is None else _step(note.index)


def _step(key: int | str) -> str:
    if isinstance(key, int):
        return f"[{key}]"
    bare = key and all(c.isalnum() and c.isascii() or c in "-_" for c in key)
    return f".{key}" if bare else f'."{key}"'


def described(value: object) -> str:
    """What messages call a value, in TOML's terms."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, list | tuple):
        return "a list"
    return repr(value)


def each_of(jobs: Iterable[tuple[int | str, Callable[[], Any]]]) -> list[Any]:
    """The results of all jobs. Raises Faults with the error of every job that failed."""
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
