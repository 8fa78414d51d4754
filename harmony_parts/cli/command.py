"""What all commands share: `--debug`, examples in the help, late imports and short errors."""

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
from harmony_parts.report.progress import print_stderr

DEBUG = "harmony.debug"
INTERRUPTED = 130  # as shells do: 128 + SIGINT


def _set_debug(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        ctx.meta[DEBUG] = True  # `meta` is shared by a command and its group


def debug(ctx: click.Context) -> bool:
    """Whether to show the tracebacks of errors."""
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
                callback=_set_debug,
                envvar="HARMONY_DEBUG",
                help="Show the traceback of errors (also HARMONY_DEBUG=1).",
            )
        )

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples line by line, without re-wrapping them."""
        if self.examples:
            with formatter.section("Examples"):
                for line in self.examples:
                    formatter.write(f"{'':{formatter.current_indent}}{line}\n")


class Command(_Base):
    """One command."""


class Group(_Base, click.Group):
    """A group whose commands are imported when they are called.

    `lazy` maps their names to "module:attribute". The outermost group prints errors and warnings
    in a few words, without a traceback, and sets the exit code.
    """

    command_class = Command

    def __init__(self, *args: Any, lazy: dict[str, str] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lazy = lazy or {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names in the order of their declaration, not sorted."""
        return [*self.lazy, *self.commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, imported now if it is lazy."""
        if cmd_name in self.lazy:
            module, _, attribute = self.lazy[cmd_name].partition(":")
            command: click.Command = getattr(importlib.import_module(module), attribute)
            return command
        return super().get_command(ctx, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, but an unknown name is answered with the nearest one."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            names = self.list_commands(ctx)
            ctx.fail(
                f"there is no command {args[0]!r}{nearest(args[0], names)}; commands:"
                f" {', '.join(names)}"
            )
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; the outermost group prints its errors and warnings."""
        if ctx.parent is not None:
            return super().invoke(ctx)
        with warnings.catch_warnings():
            warnings.showwarning = _print_warning
            try:
                return super().invoke(ctx)
            except (click.exceptions.Exit, click.ClickException, click.Abort):
                raise
            except KeyboardInterrupt as interrupt:
                print_stderr(str(interrupt) or "stopped")
                ctx.exit(INTERRUPTED)
            except Exception as error:
                if isinstance(error, OSError) and error.errno == errno.EPIPE:
                    raise  # the reader closed the pipe; click exits quietly
                if debug(ctx):
                    traceback.print_exc()
                else:
                    print_stderr(*_message(error))
                ctx.exit(1)


def _message(error: Exception) -> tuple[str, ...]:
    """The lines for an error; those of unexpected errors name its class and `--debug`."""
    text = str(error) or type(error).__name__
    if isinstance(error, HarmonyError | ValueError):
        return (f"error: {text}",)
    if isinstance(error, OSError):
        if error.filename and error.strerror:
            text = f"{error.filename}: {error.strerror}"
        return (f"error: {text}",)
    return (
        f"error: {type(error).__name__}: {text}",
        "This may be a bug; the same command with --debug shows where it happened.",
    )


def _print_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: Any = None,
    line: str | None = None,
) -> None:
    """Warnings for users in one line; those for developers only with Python's -W."""
    if issubclass(category, UserWarning | RuntimeWarning):
        print_stderr(f"warning: {message}")
    elif sys.warnoptions:
        sys.stderr.write(warnings.formatwarning(message, category, filename, lineno, line))
