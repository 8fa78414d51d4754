"""`harmony convert`: convert weights of Wan2.2 and Ovi to model folders, and back."""

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
        "--key",
        metavar="KEY",
        help=(
            "Where the weights are in a checkpoint that holds several, such as ema.  [default: the"
            " model's own]"
        ),
    ),
    click.option(
        "--config",
        "configs",
        multiple=True,
        type=FILE,
        help="The model's configuration (JSON), to check sizes with. Can be repeated.",
    ),
    click.option(
        "--recipe",
        help="Recipe for codecs, encoders and the rest: a file, or the name of a shipped one.",
    ),
    set_option,
    click.option(
        "--partial",
        multiple=True,
        metavar="NAME",
        help=(
            "Pattern of tensors that may be initialised (our names) or left out (theirs). Can be"
            " repeated."
        ),
    ),
    click.option(
        "--dtype",
        type=click.Choice(["float32", "bfloat16", "float16"]),
        help="Data type of the weights.  [default: each tensor's own]",
    ),
    click.option(
        "--seed", type=SEED, default=0, show_default=True, help="Seed of initialised tensors."
    ),
    click.option(
        "--report",
        "to",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Write the fate of every tensor as JSON.",
    ),
    click.option(
        "--out",
        type=click.Path(path_type=Path),
        required=True,
        help="The model's folder, which must not exist.",
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
        "harmony convert ovi model.safetensors --out models/ovi      video and sound",
        "harmony convert wan Wan2.2-TI2V-5B --out models/wan         only video",
        (
            "harmony convert wan Wan2.2-TI2V-5B --init gldi --audio model.safetensors --out"
            " models/start"
        ),
        "harmony convert back ovi models/ovi --out again.safetensors",
    ],
)
def convert() -> None:
    """Convert checkpoints of other projects to model folders, and models back to their layouts.

    Code inside a checkpoint is never run.
    """


@convert.command(
    cls=Command,
    short_help="Convert an Ovi checkpoint.",
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
        "Take only the two towers, to train them with a fresh interaction, or with an mmdit audio"
        " branch."
    ),
)
@options
def ovi(checkpoint: Path, **settings: Any) -> None:
    """Convert CHECKPOINT, Ovi's .safetensors or .pt file or a folder of shards, to a model."""
    _run("ovi", checkpoint, **settings)


@convert.command(
    cls=Command,
    short_help="Convert a Wan2.2-TI2V-5B checkpoint.",
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
        "With --audio, build a pair to train: with a fresh interaction, or with an mmdit audio"
        " branch."
    ),
)
@click.option(
    "--audio", type=PATH, help="An Ovi checkpoint whose audio tower becomes the audio branch."
)
@options
def wan(checkpoint: Path, **settings: Any) -> None:
    """Convert CHECKPOINT, a folder of shards or a .safetensors or .pt file, to a model.

    Its tensors have Wan's own names or those of diffusers.
    """
    _run("wan", checkpoint, **settings)


@convert.command(
    cls=Command,
    short_help="Convert a model to Ovi's or Wan's layout.",
    examples=["harmony convert back ovi MODEL --out ovi.safetensors"],
)
@click.argument("layout", type=click.Choice(["ovi", "wan", "wan-diffusers"]))
@click.argument("model", type=PATH)
@click.option(
    "--partial",
    multiple=True,
    metavar="NAME",
    help="Pattern of the model's tensors to leave out. Can be repeated.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="A .safetensors file, which must not exist.",
)
def back(layout: Any, model: Path, partial: tuple[str, ...], out: Path) -> None:
    """Write the weights of MODEL, a run or model folder, as one file in LAYOUT.

    Tensors that were converted from that layout come back bit for bit.
    """
    from harmony_parts.convert.back import convert_back

    count = convert_back(layout, model, out, partial=partial)
    click.echo(f"{out}: {quantity(count, 'tensor')} in the layout {layout}")


def _run(
    layout: Any, checkpoint: Path, *, out: Path, dtype: str | None, to: Path | None, **settings: Any
) -> None:
    """Convert a checkpoint, and print the fate of its tensors and the next command."""
    import torch

    from harmony_parts.convert.forward import convert as run

    if to is not None and not to.absolute().parent.is_dir():
        raise RunError(f"{to}: there is no folder {to.parent}")
    with progress("converting") as step:
        report = run(
            layout,
            checkpoint,
            out,
            dtype=getattr(torch, dtype) if dtype else None,
            progress=step,
            **settings,
        )
    console().print(table(report))
    print_stderr(*report.notes)
    if to is not None:
        to.write_text(report.json(), encoding="utf-8")
    folder = shlex.quote(str(out))
    click.echo(f"{out}: written; its README.md names the sources")
    if not report.fresh:
        click.echo(f"try: harmony generate {folder} --out clip.mp4")
        return
    only_interaction = all(part.endswith(".interaction") for part in report.fresh)
    until = (
        "the streams don't affect each other"
        if only_interaction
        else "the model's clips are meaningless"
    )
    print_stderr(f"initialised, to be trained: {', '.join(report.fresh)}; until then {until}")
    recipe, target = shlex.quote(str(out / "recipe.toml")), shlex.quote(str(Path("runs", out.name)))
    click.echo(
        f"next: harmony train {recipe} --start {folder} --data CLIPS --out {target}, with a folder"
        " of clips for CLIPS"
    )


def table(report: Report) -> Any:
    """How many tensors and numbers had each fate."""
    from rich.table import Table

    rows = Table(box=None, pad_edge=False)
    for column, side in (
        ("", "left"),
        ("tensors of", "left"),
        ("tensors", "right"),
        ("numbers", "right"),
    ):
        rows.add_column(column, justify=side)  # type: ignore[arg-type]
    for fate, group, tensors, numbers in report.table():
        rows.add_row(fate, group, f"{tensors:,}", short(numbers))
    return rows
