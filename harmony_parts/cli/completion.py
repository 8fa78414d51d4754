"""`harmony completion`: what a shell needs to complete commands, options, recipes, parts and
models.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click
from click.shell_completion import CompletionItem, get_completion_class

from harmony_parts.cli.command import Command

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_HARMONY_COMPLETE"  # in which click is asked for completions


@click.command(
    cls=Command,
    short_help="Print what a shell needs to complete commands.",
    examples=[
        "harmony completion bash >> ~/.bashrc",
        "harmony completion zsh >> ~/.zshrc",
        "harmony completion fish > ~/.config/fish/completions/harmony.fish",
    ],
)
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print a script that lets SHELL complete commands, options, and the names of recipes, parts,
    kinds and runs, plugins' ones too.
    """
    from harmony_parts.cli.main import cli

    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(cli, {}, "harmony", VARIABLE).source())


def recipes(
    ctx: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """The recipes that ship, and files."""
    from harmony_parts.assembly.read import shipped_recipes

    return [*_fitting(shipped_recipes(), incomplete), CompletionItem(incomplete, type="file")]


def models(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The folders in `runs`, and any others."""
    return [
        *_fitting(sorted(str(run) for run in Path("runs").glob("*/")), incomplete),
        CompletionItem(incomplete, type="dir"),
    ]


def kinds(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The kinds of parts."""
    from harmony_parts.assembly.kinds import KINDS

    return _fitting(map(str, KINDS.values()), incomplete)


def parts(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """KIND/NAME of every part."""
    from harmony_parts.assembly.catalogue import catalogue
    from harmony_parts.assembly.kinds import KINDS

    return _fitting((f"{KINDS[d.kind]}/{d.name}" for d in catalogue().list()), incomplete)


def guidances(
    ctx: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """The names of the guidance parts."""
    return _of_kind("guidance", incomplete)


def metrics(
    ctx: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """The names of the metrics."""
    return _of_kind("metric", incomplete)


def _of_kind(kind: str, incomplete: str) -> list[CompletionItem]:
    from harmony_parts.assembly.catalogue import catalogue

    return _fitting((declared.name for declared in catalogue().list(kind)), incomplete)


def _fitting(names: Iterable[str], incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in dict.fromkeys(names) if name.startswith(incomplete)]
