"""Commands that installed packages add to `harmony`, by entry points.

    [project.entry-points."harmony_parts.commands"]
    page = "harmony_page.command:page"

The module is imported when the command is called or listed, so it imports what is heavy inside its
functions. A plugin that can't be imported affects no other command.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import NoReturn

import click

from harmony_parts.assembly.declared import cause_of
from harmony_parts.assembly.discovery import entry_points, limit_of_environment
from harmony_parts.errors import HarmonyError

COMMANDS = "harmony_parts.commands"


def plugin_commands(group: str) -> dict[str, EntryPoint]:
    """The installed commands of the entry point group `group`, by name; none for "".

    HARMONY_PARTS_PLUGINS restricts them as it restricts plugins, by the names of entry points.
    """
    if not group:
        return {}
    only = limit_of_environment()
    return {
        point.name: point for point in entry_points(group) if only is None or point.name in only
    }


def load_plugin_command(point: EntryPoint) -> click.Command:
    """The command of an entry point; one that only says what is wrong if it can't be imported."""
    try:
        command = point.load()
    except (Exception, SystemExit) as error:
        return _broken(point, f"can't be imported from {point.value}: {cause_of(error)}")
    if not isinstance(command, click.Command):
        return _broken(point, f"{point.value} is no click command, but {command!r:.80}")
    return command


def _broken(point: EntryPoint, fault: str) -> click.Command:
    package = f" of {point.dist.name}" if point.dist else ""
    message = f"the command {point.name!r}{package}: {fault}"

    def fail() -> NoReturn:
        raise HarmonyError(message)

    return click.Command(
        point.name,
        callback=fail,
        short_help=f"(broken: {fault})",
        add_help_option=False,
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )
