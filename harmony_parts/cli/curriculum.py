"""`harmony curriculum`: train recipes one after the other."""

from __future__ import annotations

import shlex
import time
from pathlib import Path

import click

from harmony_parts.cli.command import Command
from harmony_parts.cli.completion import recipes as complete_recipes
from harmony_parts.cli.options import data_option, device_option, set_option, workers_option
from harmony_parts.report.text import duration


class StageStart(click.ParamType):
    """[STAGE=]MODEL."""

    name = "[STAGE=]MODEL"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, str]:
        """(number of the stage, model); the first stage by default."""
        stage, equals, model = str(value).partition("=")
        return (int(stage), model) if equals and stage.isdecimal() else (1, str(value))


@click.command(
    cls=Command,
    short_help="Train recipes one after the other.",
    examples=[
        "harmony curriculum one.toml two.toml --data prepared --out runs/mine",
        "harmony curriculum paper/stage-1 paper/stage-2 harmony-5b --start 3=models/wan"
        "     the paper's three stages",
    ],
)
@click.argument("recipes", nargs=-1, required=True, shell_complete=complete_recipes)
@data_option
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("runs/curriculum"),
    show_default=True,
    help="Folder for the stages' run folders, 1-NAME, 2-NAME, ...",
)
@click.option(
    "--start",
    multiple=True,
    type=StageStart(),
    help=(
        "A model that a stage starts from beside the stage before it, such as 3=models/wan; without"
        " a number, one for the first stage."
    ),
)
@workers_option
@set_option
@device_option
def curriculum(
    recipes: tuple[str, ...],
    data: str | Path | None,
    out: Path,
    start: tuple[tuple[int, str], ...],
    workers: int,
    overrides: tuple[str, ...],
    device: str,
) -> None:
    """Train RECIPES in order, each from the weights of the one before.

    After Ctrl-C or a kill the same command continues: finished stages are left as they are, and the
    stopped one goes on from its last checkpoint. --set changes a setting in every stage.
    """
    from harmony_parts.assembly.read import read_recipe
    from harmony_parts.train.curriculum import train_curriculum

    read = [read_recipe(recipe, overrides) for recipe in recipes]
    also: dict[int, list[str]] = {}
    for stage, model in start:
        also.setdefault(stage, []).append(model)
    began = time.perf_counter()
    try:
        trained = train_curriculum(
            read, out=out, also=also, data_root=data, device=device, workers=workers
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped; the same command continues from there") from None
    click.echo(f"{trained}: trained in {duration(time.perf_counter() - began)}")
    click.echo(f"try: harmony generate {shlex.quote(str(trained))} --out clip.mp4")
