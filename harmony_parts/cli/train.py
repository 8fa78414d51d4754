"""`harmony train`: train the model of a recipe."""

from __future__ import annotations

import shlex
import time
from pathlib import Path

import click
from click.core import ParameterSource

from harmony_parts.cli.command import Command
from harmony_parts.cli.completion import recipes
from harmony_parts.cli.options import data_option, device_option, set_option, workers_option
from harmony_parts.report.text import duration


@click.command(
    cls=Command,
    short_help="Train a model from a recipe.",
    examples=[
        "harmony train demo                                 on Soundstage, into runs/demo",
        "harmony train clips --data DIR                     on your own clips, into runs/clips",
        "harmony train demo --set train.steps=200 --out runs/short",
        "harmony train demo --resume                        continue an interrupted run",
        (
            "harmony train models/ovi/recipe.toml --start models/ovi --data DIR     from existing"
            " weights"
        ),
        (
            "harmony train pair.toml --start runs/video --start runs/sound     join two models of"
            " one stream"
        ),
    ],
)
@click.argument("recipe", shell_complete=recipes)
@data_option
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Run folder.  [default: runs/ and the recipe's name]",
)
@click.option(
    "--start",
    metavar="MODEL",
    multiple=True,
    help=(
        "Start from the weights of this model, a folder or a name on the Hugging Face Hub. Models"
        " of one stream are joined: each gives its branch and encoders.  [default: fresh weights]"
    ),
)
@click.option("--resume", is_flag=True, help="Continue from the last checkpoint in the run folder.")
@workers_option
@set_option
@device_option
def train(
    recipe: str,
    data: str | Path | None,
    out: Path | None,
    start: tuple[str, ...],
    resume: bool,
    workers: int,
    overrides: tuple[str, ...],
    device: str,
) -> None:
    """Train the model of RECIPE, which is a TOML file or the name of a shipped recipe.

    The run folder holds checkpoints, the log (JSONL and TensorBoard), and in the end the model with
    its expanded recipe. Ctrl-C saves a checkpoint; the same command with --resume continues from
    there.
    """
    from harmony_parts.assembly.read import read_recipe
    from harmony_parts.strategies.launch import launched_rank, was_restarted
    from harmony_parts.train.checkpoint import list_checkpoints
    from harmony_parts.train.loop import train as run
    from harmony_parts.train.run_folder import CHECKPOINTS, LORA

    if start and resume:
        raise click.UsageError("--resume continues from the run's own weights: leave --start out")
    begun = _run_of(recipe)
    if begun and out is None and not resume and not was_restarted():
        raise click.UsageError(
            f"{recipe} is the recipe of the run {begun}: continue that with --resume, or begin"
            " another one with --out DIR"
        )
    read = read_recipe(recipe, overrides)
    out = out or begun or Path("runs", read.name)
    if was_restarted() and list_checkpoints(out / CHECKPOINTS):
        resume, start = True, ()  # torchrun repeats the command that began the run
    began = time.perf_counter()
    try:
        model = run(
            read,
            out=out,
            data_root=data,
            start=start,
            resume=resume,
            device=device,
            workers=workers,
        )
    except KeyboardInterrupt:
        chosen = (
            click.get_current_context().get_parameter_source("device")
            is not ParameterSource.DEFAULT
        )
        command = _resume(recipe, data, out, start, overrides, device if chosen else None)
        raise KeyboardInterrupt(f"stopped; to continue:\n  {command}") from None
    if launched_rank():
        return
    click.echo(f"{model}: trained in {duration(time.perf_counter() - began)}")
    whose = ["MODEL", "--lora", str(out)] if model.name == LORA else [str(out)]
    words = ["harmony", "generate", *whose, "--out", f"{read.name}.mp4"]
    click.echo(f"try: {shlex.join(words)}")


def _run_of(recipe: str) -> Path | None:
    """The run folder that a recipe's file lies in, if it does."""
    file = Path(recipe)
    in_run = file.name == "recipe.toml" and (file.parent / "checkpoints").is_dir()
    return file.parent if in_run else None


def _resume(
    recipe: str,
    data: str | Path | None,
    out: Path,
    start: tuple[str, ...],
    overrides: tuple[str, ...],
    device: str | None,
) -> str:
    """The command line that continues a run."""
    words = [
        "harmony",
        "train",
        recipe,
        *(("--data", str(data)) if data else ()),
        "--out",
        str(out),
    ]
    # without it, the run was stopped before it had anything to resume
    if (out / "recipe.toml").is_file():
        words.append("--resume")
    else:
        for model in start:
            words += ["--start", model]
    for override in overrides:
        words += ["--set", override]
    if device is not None:
        words += ["--device", device]
    return shlex.join(words)
