"""What all commands have in common: `--debug`, examples in the help, commands that are imported
late, and errors without tracebacks.
"""

from __future__ import annotations

import errno
import importlib
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import Any

import click

from harmony_parts.errors import HarmonyError, nearest
from harmony_parts.report.progress import complain

DEBUG = "harmony.debug"
INTERRUPTED = 130  # as shells do: 128 + SIGINT


def _remember(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        ctx.meta[DEBUG] = True  # `meta` is shared by a command and its group


def debug(ctx: click.Context) -> bool:
    """Whether the user asked for tracebacks."""
    return bool(ctx.meta.get(DEBUG))


class _Base(click.Command):
    """A command with `--debug`, and with examples at the end of its help."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:
        kwargs.setdefault(
            "context_settings", {"help_option_names": ["-h", "--help"], "max_content_width": 110}
        )
        super().__init__(*args, **kwargs)
        self.examples = examples
        self.params.append(
            click.Option(
                ["--debug"],
                is_flag=True,
                is_eager=True,
                expose_value=False,
                callback=_remember,
                envvar="HARMONY_DEBUG",
                help="Show the traceback of errors (also HARMONY_DEBUG=1).",
            )
        )

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The examples, line by line as they are."""
        if self.examples:
            with formatter.section("Examples"):
                for line in self.examples:
                    formatter.write(f"{'':{formatter.current_indent}}{line}\n")


class Command(_Base):
    """One command."""


class Group(_Base, click.Group):
    """Commands by name; `lazy` says where each is, "module:attribute". An error of any of them is
    told in a few words, without a traceback.
    """

    command_class = Command

    def __init__(self, *args: Any, lazy: dict[str, str] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lazy = lazy or {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which they were given: the way through the program."""
        return [*self.lazy, *self.commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import it when it is asked for."""
        if cmd_name in self.lazy:
            module, _, attribute = self.lazy[cmd_name].partition(":")
            found: click.Command = getattr(importlib.import_module(module), attribute)
            return found
        return super().get_command(ctx, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with the nearest name where there is none of that name."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            names = self.list_commands(ctx)
            ctx.fail(
                f"there is no command {args[0]!r}{nearest(args[0], names)}; commands:"
                f" {', '.join(names)}"
            )
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; the outermost group tells errors and warnings."""
        if ctx.parent is not None:
            return super().invoke(ctx)
        with warnings.catch_warnings():
            warnings.showwarning = _warn
            try:
                return super().invoke(ctx)
            except (click.exceptions.Exit, click.ClickException, click.Abort):
                raise
            except KeyboardInterrupt:
                complain("stopped")
                ctx.exit(INTERRUPTED)
            except Exception as error:
                if isinstance(error, OSError) and error.errno == errno.EPIPE:
                    raise  # somebody closed the pipe that is written to; click ends quietly
                if debug(ctx):
                    traceback.print_exc()
                else:
                    complain(*_told(error))
                ctx.exit(1)


def _told(error: Exception) -> tuple[str, ...]:
    """The message of an error, and, where it isn't one that the library raises on purpose, what
    kind it is.
    """
    text = str(error) or type(error).__name__
    if isinstance(error, HarmonyError | ValueError):
        return (f"error: {text}",)
    if isinstance(error, OSError):
        return (
            (
                f"error: {error.filename}: {error.strerror}"
                if error.filename and error.strerror
                else f"error: {text}"
            ),
        )
    return (
        f"error: {type(error).__name__}: {text}",
        (
            "This may be a fault of the program; the same command with --debug shows where it"
            " happened."
        ),
    )


def _warn(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: Any = None,
    line: str | None = None,
) -> None:
    """A warning in one line; who programs sees the others with --debug or Python's -W."""
    if issubclass(category, UserWarning | RuntimeWarning):
        complain(f"warning: {message}")
    elif sys.warnoptions:
        sys.stderr.write(warnings.formatwarning(message, category, filename, lineno, line))
