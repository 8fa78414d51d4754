"""`harmony completion`: shell completion of commands, options, recipes, parts and models."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click
from click.shell_completion import CompletionItem, get_completion_class

from harmony_parts.cli.command import Command

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_HARMONY_COMPLETE"  # the environment variable in which click reads the request


@click.command(
    cls=Command,
    short_help="Print a completion script for a shell.",
    examples=[
        "harmony completion bash >> ~/.bashrc",
        "harmony completion zsh >> ~/.zshrc",
        "harmony completion fish > ~/.config/fish/completions/harmony.fish",
    ],
)
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print a script with which SHELL completes commands, options and names.

    Names are those of recipes, runs, kinds and parts, including the parts of plugins.
    """
    from harmony_parts.cli.main import cli

    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(cli, {}, "harmony", VARIABLE).source())


def recipes(
    ctx: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Completes the names of shipped recipes, and files."""
    from harmony_parts.assembly.read import shipped_recipes

    return [*_fitting(shipped_recipes(), incomplete), CompletionItem(incomplete, type="file")]


def models(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Completes the models that ship, the folders in `runs`, and other folders."""
    from harmony_parts.models.shipped import shipped_models

    runs = sorted(str(run) for run in Path("runs").glob("*/"))
    return [
        *_fitting([*shipped_models(), *runs], incomplete),
        CompletionItem(incomplete, type="dir"),
    ]


def kinds(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Completes the kinds of part."""
    from harmony_parts.assembly.kinds import KINDS

    return _fitting(map(str, KINDS.values()), incomplete)


def parts(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Completes KIND/NAME of all parts."""
    from harmony_parts.assembly.catalogue import catalogue
    from harmony_parts.assembly.kinds import KINDS

    return _fitting((f"{KINDS[d.kind]}/{d.name}" for d in catalogue().list()), incomplete)


def guidances(
    ctx: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Completes the names of guidance parts."""
    return _of_kind("guidance", incomplete)


def metrics(
    ctx: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Completes the names of metrics."""
    return _of_kind("metric", incomplete)


def _of_kind(kind: str, incomplete: str) -> list[CompletionItem]:
    from harmony_parts.assembly.catalogue import catalogue

    return _fitting((declared.name for declared in catalogue().list(kind)), incomplete)


def _fitting(names: Iterable[str], incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in dict.fromkeys(names) if name.startswith(incomplete)]
