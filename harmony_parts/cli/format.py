"""How the command line writes: one console, numbers for people, and a progress bar."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from harmony_parts.pace import Pace

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


def quantity(number: int | float, what: str) -> str:
    """ "1 latent", "2,048 latents"."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def short(number: int) -> str:
    """Three digits of a large number: 618, 12.3 k, 5.01 M, 5.01 G."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= 0.9995 * size:
            return f"{number / size:.3g} {unit}"
    return str(number)


def duration(seconds: float) -> str:
    """0.4 s, 12.3 s, 3 min 5 s, 2 h 10 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def value(plain: Any) -> str:
    """A setting's value in TOML's terms, on one line."""
    if isinstance(plain, bool):
        return str(plain).lower()
    if isinstance(plain, dict):
        inside = ", ".join(f"{key} = {value(inner)}" for key, inner in plain.items())
        return f"{{ {inside} }}" if inside else "{}"
    if isinstance(plain, list | tuple):
        return f"[{', '.join(map(value, plain))}]"
    if isinstance(plain, str):
        return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return '"none"' if plain is None else str(plain)


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
