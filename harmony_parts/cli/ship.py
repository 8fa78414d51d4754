"""`harmony ship`: make a folder to share of a trained model."""

from __future__ import annotations

import json
from pathlib import Path

import click

from harmony_parts.cli.command import Command
from harmony_parts.cli.completion import models
from harmony_parts.errors import RunError


@click.command(
    cls=Command,
    short_help="Make a folder to share of a trained model.",
    examples=[
        "harmony ship runs/mine --out mine",
        "harmony ship runs/mine --out mine --scores bench/mine/bench.json --notes faults.md",
        'harmony ship runs/mine --out mine --about "Hardware: 2 cores" --about "Hours: 9"',
        "harmony ship runs/clips --out clips --data DIR          its captions are what it knows",
    ],
)
@click.argument("model", shell_complete=models)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="The new model's folder; its name is the model's, without --name.",
)
@click.option("--name", help="Name of the model.  [default: that of the folder]")
@click.option(
    "--dtype",
    type=click.Choice(["float16", "bfloat16", "float32"]),
    default="float16",
    show_default=True,
    help="Data type in which the weights are stored; float16 is computed in float32.",
)
@click.option(
    "--scores",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    help="A bench.json of `harmony bench`, as tables in the card. Can be repeated.",
)
@click.option(
    "--notes",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    help="A Markdown file for the card, such as limits and faults seen. Can be repeated.",
)
@click.option(
    "--about",
    multiple=True,
    metavar="LINE",
    help="A line of the card, such as the commit, the hardware, the hours. Can be repeated.",
)
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the training clips, for recipes that train on one.",
)
def ship(
    model: str,
    out: Path,
    name: str | None,
    dtype: str,
    scores: tuple[Path, ...],
    notes: tuple[Path, ...],
    about: tuple[str, ...],
    data: Path | None,
) -> None:
    """Write MODEL into a folder that is complete by itself: to move, to publish, to ship.

    The folder has the weights in half precision, the recipe, the weights of learned codecs, a card
    (README.md), and the words of the training clips (known.json): a prompt with other words gets a
    warning with the nearest ones. Such a folder in harmony_parts/shipped ships with the library.
    """
    import torch

    from harmony_parts.bench.markdown import scores_section
    from harmony_parts.generate.checks import resolve_model
    from harmony_parts.models.ship import ship as write

    sections = []
    for file in scores:
        try:
            title = file.parent.name if len(scores) > 1 else ""
            sections.append(scores_section(json.loads(file.read_text(encoding="utf-8")), title))
        except json.JSONDecodeError as error:
            raise RunError(f"{file}: isn't the bench.json of `harmony bench`: {error}") from error
        except ValueError as error:
            raise RunError(f"{file}: {error}") from error
    folder = write(
        resolve_model(model),
        out,
        name=name,
        dtype=getattr(torch, dtype),
        about=about,
        sections=[*sections, *(file.read_text(encoding="utf-8") for file in notes)],
        data_root=data,
    )
    size = sum(file.stat().st_size for file in folder.iterdir()) / 1e6
    click.echo(f"{folder}: {size:.1f} MB in {', '.join(sorted(f.name for f in folder.iterdir()))}")
