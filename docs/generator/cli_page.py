"""reference/cli.md: the help of every command."""

from __future__ import annotations

from collections.abc import Iterator

import click

from generator.markdown import NOTE
from harmony_parts.cli.main import cli


def cli_page() -> str:
    """The page."""
    sections = [
        f"\n## {path} {{ #{path.replace(' ', '-')} }}\n\n```text\n{text}\n```\n"
        for path, text in helps(cli, "harmony")
    ]
    return NOTE + "# Command line\n\nThe `--help` text of every command.\n" + "".join(sections)


def helps(command: click.Command, path: str) -> Iterator[tuple[str, str]]:
    """(command, help text) of a command and its subcommands."""
    settings = {**command.context_settings, "terminal_width": 100, "color": False}
    context = click.Context(command, info_name=path, **settings)
    yield path, "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            found = command.get_command(context, inner)
            assert found is not None
            yield from helps(found, f"{path} {inner}")
