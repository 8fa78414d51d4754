"""`harmony convert`: weights of other projects to model folders, and back."""

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
        help="The model's configuration (JSON), to check sizes against; may be repeated.",
    ),
    click.option(
        "--recipe",
        help="Recipe for codecs, encoders and all else: a file, or the name of one that ships.",
    ),
    set_option,
    click.option(
        "--partial",
        multiple=True,
        metavar="NAME",
        help=(
            "Tensors that may start fresh (our names) or be left out (theirs): a pattern;"
            " repeatable."
        ),
    ),
    click.option(
        "--dtype",
        type=click.Choice(["float32", "bfloat16", "float16"]),
        help="Of the weights.  [default: each as it is]",
    ),
    click.option(
        "--seed", type=SEED, default=0, show_default=True, help="Of tensors that start fresh."
    ),
    click.option(
        "--report",
        "to",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Write what became of every tensor: JSON.",
    ),
    click.option(
        "--out",
        type=click.Path(path_type=Path),
        required=True,
        help="The model's folder, which isn't there yet.",
    ),
)


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that `ovi` and `wan` share."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


@click.group(
    cls=Group,
    short_help="Take weights of Wan2.2 or Ovi, or give them back.",
    examples=[
        (
            "harmony convert ovi model.safetensors --out models/ovi                       video and"
            " sound"
        ),
        "harmony convert wan Wan2.2-TI2V-5B --out models/wan                          video alone",
        (
            "harmony convert wan Wan2.2-TI2V-5B --init gldi --audio model.safetensors --out"
            " models/start"
        ),
        "harmony convert back ovi models/ovi --out again.safetensors",
    ],
)
def convert() -> None:
    """Make model folders of weights that others trained, and their files of ours. No code inside a
    checkpoint is ever run.
    """


@convert.command(
    cls=Command,
    short_help="Ovi to a model folder.",
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
        "Take the two towers alone, to be trained with a fresh interaction, or with an mmdit audio"
        " branch."
    ),
)
@options
def ovi(checkpoint: Path, **asked: Any) -> None:
    """Make a model folder of CHECKPOINT: Ovi's .safetensors or .pt file, or a folder of shards."""
    _run("ovi", checkpoint, **asked)


@convert.command(
    cls=Command,
    short_help="Wan2.2-TI2V-5B to a model folder.",
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
        "Make a pair to be trained, with --audio: the interaction fresh, or the audio branch an"
        " mmdit."
    ),
)
@click.option(
    "--audio", type=PATH, help="An Ovi checkpoint, whose audio tower becomes the audio branch."
)
@options
def wan(checkpoint: Path, **asked: Any) -> None:
    """Make a model folder of CHECKPOINT: a folder of shards, or a .safetensors or .pt file, in
    Wan's own naming or in diffusers'.
    """
    _run("wan", checkpoint, **asked)


@convert.command(
    cls=Command,
    short_help="A model folder to Ovi's or Wan's layout.",
    examples=["harmony convert back ovi MODEL --out ovi.safetensors"],
)
@click.argument("layout", type=click.Choice(["ovi", "wan", "wan-diffusers"]))
@click.argument("model", type=PATH)
@click.option(
    "--partial",
    multiple=True,
    metavar="NAME",
    help="Tensors of the model that are left out: a pattern; may be repeated.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="A .safetensors file, which isn't there yet.",
)
def back(layout: Any, model: Path, partial: tuple[str, ...], out: Path) -> None:
    """Write the weights of MODEL, a run or model folder, as one file in LAYOUT: the tensors that
    were converted come back bit for bit.
    """
    from harmony_parts.convert.back import convert_back

    count = convert_back(layout, model, out, partial=partial)
    click.echo(f"{out}: {quantity(count, 'tensor')} in the layout {layout}")


def _run(
    layout: Any, checkpoint: Path, *, out: Path, dtype: str | None, to: Path | None, **asked: Any
) -> None:
    """Convert, and say what became of the tensors."""
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
            **asked,
        )
    console().print(table(report))
    if to is not None:
        to.write_text(report.json(), encoding="utf-8")
    folder = shlex.quote(str(out))
    click.echo(f"{out}: written; README.md in it says what of")
    if not report.fresh:
        click.echo(f"try: harmony generate {folder} --out clip.mp4")
        return
    apart = all(part.endswith(".interaction") for part in report.fresh)
    until = "the streams don't hear each other" if apart else "what the model makes means nothing"
    print_stderr(f"fresh, and to be trained: {', '.join(report.fresh)}; until then {until}")
    recipe, made = shlex.quote(str(out / "recipe.toml")), shlex.quote(str(Path("runs", out.name)))
    click.echo(
        f"next: harmony train {recipe} --start {folder} --data CLIPS --out {made}, with a folder of"
        " clips for CLIPS"
    )


def table(report: Report) -> Any:
    """Tensors and numbers by what became of them."""
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
