"""Consoles, lines on stderr, and progress bars."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from harmony_parts.report.pace import Pace

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text


WIDTH = 120  # characters per line if the output isn't a terminal


def console(stderr: bool = False) -> Console:
    """A console for stdout or stderr that prints text verbatim, without markup or highlighting."""
    from rich.console import Console

    output = Console(stderr=stderr, markup=False, highlight=False, emoji=False)
    if not output.is_terminal:
        output.width = WIDTH
    return output


def print_stderr(*lines: str) -> None:
    """Print lines that aren't the result: errors, warnings and progress."""
    say = any_encoding(lambda line: print(line, file=sys.stderr, flush=True))
    for line in lines:
        say(line)


def any_encoding(say: Callable[[str], None]) -> Callable[[str], None]:
    """`say`, with escapes for what its output can't encode: no line ever fails a job."""

    def said(line: str) -> None:
        try:
            say(line)
        except UnicodeError:
            say(line.encode("ascii", "backslashreplace").decode("ascii"))

    return said


def escape_unencodable() -> None:
    """Let stdout and stderr write escapes for what their encoding lacks, instead of raising."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def styled(*pieces: str | tuple[str, str]) -> Text:
    """Text of several pieces, each plain or a pair of text and style."""
    from rich.text import Text

    return Text.assemble(*pieces)


@contextlib.contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar with the remaining time, on stderr; plain lines if that isn't a terminal.

    `with progress("sampling") as step: step(done, total)`.
    """
    if not sys.stderr.isatty():
        yield Pace(what, print_stderr).update
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("remaining"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
