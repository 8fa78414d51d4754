"""`harmony train`: from a recipe to a run folder with a model."""

from __future__ import annotations

import shlex
import time
from pathlib import Path

import click
from click.core import ParameterSource

from harmony_parts.cli.command import INTERRUPTED, Command
from harmony_parts.cli.completion import recipes
from harmony_parts.cli.options import device_option, set_option
from harmony_parts.report.progress import complain
from harmony_parts.report.text import duration


@click.command(
    cls=Command,
    short_help="Train a model from a recipe.",
    examples=[
        "harmony train demo                                 on Soundstage, into runs/demo",
        "harmony train clips --data DIR                     on your own clips, into runs/clips",
        "harmony train demo --set train.steps=200 --out runs/short",
        "harmony train demo --resume                        go on with a run that was stopped",
        (
            "harmony train models/ovi/recipe.toml --start models/ovi --data DIR     from weights"
            " that are there"
        ),
    ],
)
@click.argument("recipe", shell_complete=recipes)
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of clips, for recipes that read one.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Run folder.  [default: runs/NAME, NAME being the recipe's]",
)
@click.option(
    "--start",
    metavar="MODEL",
    help=(
        "Begin with the weights of this model, a folder or a name on the Hugging Face Hub. "
        " [default: fresh]"
    ),
)
@click.option("--resume", is_flag=True, help="Go on from the last checkpoint in the run folder.")
@set_option
@device_option
def train(
    recipe: str,
    data: Path | None,
    out: Path | None,
    start: str | None,
    resume: bool,
    overrides: tuple[str, ...],
    device: str,
) -> None:
    """Train the model of RECIPE, which is a TOML file or the name of a recipe that ships.

    The run folder holds checkpoints, the log (JSONL and TensorBoard), and at the end the model,
    with its expanded recipe inside. Ctrl-C saves a checkpoint; the same command with --resume goes
    on from there.
    """
    from harmony_parts.assembly.read import read_recipe
    from harmony_parts.train.loop import train as run

    if start is not None and resume:
        raise click.UsageError("a run that is resumed has its own weights: leave --start out")
    read = read_recipe(recipe, overrides)
    out = out or Path("runs", read.name)
    began = time.perf_counter()
    try:
        model = run(read, out=out, data_root=data, start=start, resume=resume, device=device)
    except KeyboardInterrupt:
        chosen = (
            click.get_current_context().get_parameter_source("device")
            is not ParameterSource.DEFAULT
        )
        complain(
            "stopped; to go on:",
            f"  {_again(recipe, data, out, start, overrides, device if chosen else None)}",
        )
        raise click.exceptions.Exit(INTERRUPTED) from None
    click.echo(f"{model}: trained in {duration(time.perf_counter() - began)}")
    click.echo(
        f"try: harmony generate {shlex.quote(str(out))} --out {shlex.quote(f'{read.name}.mp4')}"
    )


def _again(
    recipe: str,
    data: Path | None,
    out: Path,
    start: str | None,
    overrides: tuple[str, ...],
    device: str | None,
) -> str:
    """The command line that goes on with a run."""
    words = [
        "harmony",
        "train",
        recipe,
        *(("--data", str(data)) if data else ()),
        "--out",
        str(out),
    ]
    # else it was stopped before there was anything to go on from
    if (out / "recipe.toml").is_file():
        words.append("--resume")
    elif start is not None:
        words += ["--start", start]
    for override in overrides:
        words += ["--set", override]
    if device is not None:
        words += ["--device", device]
    return shlex.join(words)
