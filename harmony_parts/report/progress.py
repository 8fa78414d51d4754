"""Consoles and progress bars."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

from harmony_parts.report.pace import Pace

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text


WIDTH = 120  # characters of a line where the output is no terminal


def console(stderr: bool = False) -> Console:
    """Where to print. It takes text as it is: square brackets are no markup, and colours are those
    that the caller asks for.
    """
    from rich.console import Console

    made = Console(stderr=stderr, markup=False, highlight=False, emoji=False)
    if not made.is_terminal:
        made.width = WIDTH
    return made


def complain(*lines: str) -> None:
    """Say something to the user beside the result: on stderr."""
    for line in lines:
        click.echo(line, err=True)


def styled(*pieces: str | tuple[str, str]) -> Text:
    """Pieces of text, each plain or with a style."""
    from rich.text import Text

    return Text.assemble(*pieces)


@contextlib.contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar with the remaining time, on stderr: `with progress("sampling") as step: step(done,
    total)`. Plain lines where it is no terminal.
    """
    if not sys.stderr.isatty():
        yield Pace(what, complain).tell
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
