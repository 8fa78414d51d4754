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

from harmony_parts.cli.plugin_commands import load_plugin_command, plugin_commands
from harmony_parts.errors import HarmonyError, nearest, notes
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

    `lazy` maps their names to "module:attribute". Installed packages add commands by entry points
    of the group `plugins`; `elsewhere` maps the names of some to the package that they come with.
    The outermost group prints errors and warnings in a few words, without a traceback, and sets the
    exit code.
    """

    command_class = Command

    def __init__(
        self,
        *args: Any,
        lazy: dict[str, str] | None = None,
        plugins: str = "",
        elsewhere: dict[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.lazy, self.plugins, self.elsewhere = lazy or {}, plugins, elsewhere or {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names in the order of their declaration, not sorted; then those of plugins."""
        own = [*self.lazy, *self.commands]
        return [*own, *(name for name in plugin_commands(self.plugins) if name not in own)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, imported now if it is lazy or a plugin's."""
        if cmd_name in self.lazy:
            module, _, attribute = self.lazy[cmd_name].partition(":")
            command: click.Command = getattr(importlib.import_module(module), attribute)
            return command
        if (own := super().get_command(ctx, cmd_name)) is not None:
            return own
        point = plugin_commands(self.plugins).get(cmd_name)
        return None if point is None else load_plugin_command(point)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, but an unknown name is answered with the nearest one."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            names = self.list_commands(ctx)
            if package := self.elsewhere.get(args[0]):
                ctx.fail(
                    f"{args[0]!r} is a command of the plugin {package}, which isn't installed: pip"
                    f" install ./plugins/{package}, in a checkout of this project"
                )
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
                print_stderr(str(interrupt) or "stopped", *notes(interrupt))
                ctx.exit(INTERRUPTED)
            except Exception as error:
                if isinstance(error, OSError) and error.errno == errno.EPIPE:
                    raise  # the reader closed the pipe; click exits quietly
                if debug(ctx):
                    traceback.print_exc()
                else:
                    print_stderr(*_message(error), *notes(error))
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
