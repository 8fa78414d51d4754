"""`harmony convert`: checkpoints of other projects to model folders, and back."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harmony_parts.cli.command import Command, Group
from harmony_parts.cli.options import SEED, set_option
from harmony_parts.errors import RunError
from harmony_parts.report.progress import console, print_stderr, progress
from harmony_parts.report.text import quantity, short

if TYPE_CHECKING:
    from harmony_parts.convert.report import Report

INITS = click.Choice(["gldi", "global", "mmdit"])
PATH = click.Path(exists=True, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
OPTIONS = (
    click.option(
        "--config",
        "configs",
        multiple=True,
        type=FILE,
        help="Configuration of the checkpoint (JSON) to check sizes against; repeatable.",
    ),
    click.option(
        "--recipe",
        help="Recipe for codecs, encoders and everything else: a file or a shipped recipe.",
    ),
    set_option,
    click.option(
        "--partial",
        multiple=True,
        metavar="NAME",
        help=(
            "Pattern of tensors that may be initialised (our names) or left out (theirs);"
            " repeatable."
        ),
    ),
    click.option(
        "--dtype",
        type=click.Choice(["float32", "bfloat16", "float16"]),
        help="Type of the weights.  [default: that of each tensor]",
    ),
    click.option(
        "--seed", type=SEED, default=0, show_default=True, help="Seed of initialised tensors."
    ),
    click.option(
        "--report",
        "to",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Write a JSON report of every tensor.",
    ),
    click.option(
        "--out",
        type=click.Path(path_type=Path),
        required=True,
        help="New folder for the model.",
    ),
)


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that `ovi` and `wan` share."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


@click.group(
    cls=Group,
    short_help="Convert weights of Wan2.2 or Ovi, and back.",
    examples=[
        (
            "harmony convert ovi model.safetensors --out models/ovi                       video and"
            " sound"
        ),
        "harmony convert wan Wan2.2-TI2V-5B --out models/wan                          only video",
        (
            "harmony convert wan Wan2.2-TI2V-5B --init gldi --audio model.safetensors --out"
            " models/start"
        ),
        "harmony convert back ovi models/ovi --out again.safetensors",
    ],
)
def convert() -> None:
    """Convert checkpoints of Wan2.2 and Ovi to model folders, and back.

    No code in a checkpoint is ever run.
    """


@convert.command(
    cls=Command,
    short_help="Convert Ovi to a model folder.",
    examples=[
        "harmony convert ovi model.safetensors --out models/ovi",
        "harmony convert ovi model.safetensors --init mmdit --out models/start",
    ],
)
@click.argument("checkpoint", type=PATH)
@click.option(
    "--init",
    type=INITS,
    help=(
        "Take only the two towers, to be trained with a new interaction, for mmdit also a new audio"
        " branch."
    ),
)
@options
def ovi(checkpoint: Path, **options: Any) -> None:
    """Convert CHECKPOINT to a model folder: a .safetensors or .pt file of Ovi's, or its shards."""
    _run("ovi", checkpoint, **options)


@convert.command(
    cls=Command,
    short_help="Convert Wan2.2-TI2V-5B to a model folder.",
    examples=[
        "harmony convert wan Wan2.2-TI2V-5B --out models/wan",
        (
            "harmony convert wan Wan2.2-TI2V-5B --init gldi --audio model.safetensors --out"
            " models/start"
        ),
    ],
)
@click.argument("checkpoint", type=PATH)
@click.option(
    "--init",
    type=INITS,
    help=(
        "Make a pair to be trained, with --audio: a new interaction, for mmdit also a new audio"
        " branch."
    ),
)
@click.option(
    "--audio", type=PATH, help="Ovi checkpoint whose audio tower becomes the audio branch."
)
@options
def wan(checkpoint: Path, **options: Any) -> None:
    """Convert CHECKPOINT to a model folder: shards or a .safetensors or .pt file.

    Wan's own naming and diffusers' are both recognised.
    """
    _run("wan", checkpoint, **options)


@convert.command(
    cls=Command,
    short_help="Convert a model folder to Ovi's or Wan's layout.",
    examples=["harmony convert back ovi MODEL --out ovi.safetensors"],
)
@click.argument("layout", type=click.Choice(["ovi", "wan", "wan-diffusers"]))
@click.argument("model", type=PATH)
@click.option(
    "--partial",
    multiple=True,
    metavar="NAME",
    help="Pattern of tensors to leave out; repeatable.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="New .safetensors file.",
)
def back(layout: Any, model: Path, partial: tuple[str, ...], out: Path) -> None:
    """Write the weights of MODEL, a run or model folder, as one file in LAYOUT.

    Converted tensors come back bit for bit.
    """
    from harmony_parts.convert.back import convert_back

    count = convert_back(layout, model, out, partial=partial)
    click.echo(f"{out}: {quantity(count, 'tensor')} in the layout {layout}")


def _run(
    layout: Any, checkpoint: Path, *, out: Path, dtype: str | None, to: Path | None, **options: Any
) -> None:
    """Convert, and print a table of what happened to the tensors."""
    import torch

    from harmony_parts.convert.forward import convert as run

    if to is not None and not to.absolute().parent.is_dir():
        raise RunError(f"{to}: the folder {to.parent} doesn't exist")
    with progress("converting") as step:
        report = run(
            layout,
            checkpoint,
            out,
            dtype=getattr(torch, dtype) if dtype else None,
            progress=step,
            **options,
        )
    console().print(table(report))
    if to is not None:
        to.write_text(report.json(), encoding="utf-8")
    folder = shlex.quote(str(out))
    click.echo(f"{out}: written; its README.md names the sources")
    if not report.fresh:
        click.echo(f"try: harmony generate {folder} --out clip.mp4")
        return
    only_interaction = all(part.endswith(".interaction") for part in report.fresh)
    until = "the streams don't interact" if only_interaction else "its output is noise"
    print_stderr(f"initialised, to be trained: {', '.join(report.fresh)}; until then {until}")
    recipe, made = shlex.quote(str(out / "recipe.toml")), shlex.quote(str(Path("runs", out.name)))
    click.echo(
        f"next: harmony train {recipe} --start {folder} --data CLIPS --out {made}, with a folder of"
        " clips for CLIPS"
    )


def table(report: Report) -> Any:
    """The numbers of tensors and elements by what happened to them."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False)
    for column, side in (
        ("", "left"),
        ("tensors of", "left"),
        ("tensors", "right"),
        ("numbers", "right"),
    ):
        made.add_column(column, justify=side)  # type: ignore[arg-type]
    for fate, group, tensors, numbers in report.table():
        made.add_row(fate, group, f"{tensors:,}", short(numbers))
    return made
