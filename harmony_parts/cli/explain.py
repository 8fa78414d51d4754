"""`harmony explain`: the parts, sizes and cost of a recipe's model."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from harmony_parts.cli.command import Command
from harmony_parts.cli.options import set_option
from harmony_parts.cost.figures import account_or_reason, build_empty, figures
from harmony_parts.cost.report import sections
from harmony_parts.report.progress import console, styled
from harmony_parts.report.text import value

if TYPE_CHECKING:
    from rich.tree import Tree

    from harmony_parts.assembly.build import Parts
    from harmony_parts.assembly.recipe import Recipe
    from harmony_parts.cost.account import Account

DTYPES = ("float32", "bfloat16", "float16")


@click.command(
    cls=Command,
    short_help="Show a recipe's model and what it costs.",
    examples=[
        "harmony explain demo",
        "harmony explain demo --set denoiser.layers=6 --set denoiser.interaction.audio_window=0.3",
        "harmony explain harmony-5b --dtype bfloat16 --gpus 64      12 G parameters, in seconds",
        "harmony explain runs/demo                      the model of a run",
        "harmony explain my.toml --toml > expanded.toml      every setting, with the defaults",
    ],
)
@click.argument("recipe")
@set_option
@click.option(
    "--dtype",
    type=click.Choice(DTYPES),
    default="float32",
    show_default=True,
    help="Data type of the weights, for memory.",
)
@click.option(
    "--gpus",
    type=click.IntRange(1),
    default=8,
    show_default=True,
    help="Largest number of GPUs, for the memory of each as the recipe's strategy divides it.",
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print latents, parameters, FLOPs and memory as JSON.",
)
@click.option(
    "--full",
    "--toml",
    "as_toml",
    is_flag=True,
    help="Print the expanded recipe as TOML: every setting, qualified names, versions.",
)
def explain(
    recipe: str, overrides: tuple[str, ...], dtype: str, gpus: int, as_json: bool, as_toml: bool
) -> None:
    """Show the model of RECIPE before it is trained: a TOML file, or the name of a shipped recipe.

    A model that ships, and the folder of a run, a model or a checkpoint, is explained by the recipe
    in it.

    It lists the parts and their settings, latents per clip, windows, parameters, the passes of a
    sampling step, and their cost in FLOPs and memory. The parts are built without weights and run
    on shapes only, so it takes seconds for a model of any size.
    """
    from harmony_parts.assembly.read import read_recipe, write_recipe
    from harmony_parts.models.folder import recipe_file
    from harmony_parts.models.shipped import local_model

    folder = local_model(recipe)
    inside = recipe_file(folder) if folder.is_dir() else folder
    read = read_recipe(inside if inside.is_file() else recipe, overrides)
    if as_toml:
        click.echo(write_recipe(read), nl=False)
        return
    parts = build_empty(read)
    counted = account_or_reason(read, parts, dtype)
    if as_json:
        click.echo(json.dumps(figures(read, parts, counted, gpus), indent=2))
    else:
        console().print(tree(read, parts, counted, gpus))


def tree(recipe: Recipe, parts: Parts, counted: Account | str, gpus: int) -> Tree:
    """The parts and their settings, then the sections of the cost report."""
    from rich.tree import Tree

    from harmony_parts.assembly.tables import unstructure

    root = Tree(styled((recipe.name, "bold"), f": {recipe.summary}"), guide_style="dim")
    settings = root.add(styled(("parts", "bold cyan")))
    for name, inner in unstructure(recipe).items():
        if isinstance(inner, dict | list):
            _settings(settings, name, inner)
    for name, lines in sections(recipe, parts, counted, gpus).items():
        branch = root.add(styled((name, "bold cyan")))
        for line in lines:
            branch.add(styled(line))
    return root


def _settings(node: Tree, name: str, table: Any) -> None:
    """Add a part or table of settings: plain values beside its name, tables below it."""
    if isinstance(table, list):
        branch = node.add(styled((name, "bold"), "" if table else ": none"))
        for number, inner in enumerate(table):
            _settings(branch, str(number), inner)
        return
    nested = {key: inner for key, inner in table.items() if _is_tables(inner)}
    plain = {key: inner for key, inner in table.items() if key not in nested and key != "use"}
    use = f" {table['use']}" if "use" in table else ""
    branch = node.add(
        styled(
            (name, "bold"),
            (use, "green"),
            *(f"  {key}={value(inner)}" for key, inner in plain.items()),
        )
    )
    for key, inner in nested.items():
        _settings(branch, key, inner)


def _is_tables(inner: Any) -> bool:
    """Whether it is shown below: a list of tables, or a table with a part or tables in it."""
    if isinstance(inner, list):
        return bool(inner) and all(isinstance(one, dict) for one in inner)
    return isinstance(inner, dict) and (
        "use" in inner or any(isinstance(one, dict) for one in inner.values())
    )
