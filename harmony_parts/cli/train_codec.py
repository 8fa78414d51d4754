"""`harmony train-codec`: train the weights of a learned codec."""

from __future__ import annotations

import time
from pathlib import Path

import click

from harmony_parts.cli.command import Command
from harmony_parts.cli.completion import recipes
from harmony_parts.cli.options import device_option, set_option
from harmony_parts.report.text import duration

COUNT = click.IntRange(1)


@click.command(
    cls=Command,
    short_help="Train the weights of a learned codec.",
    examples=[
        "harmony train-codec my.toml --out runs/codec       then set codecs.video.weights",
        "harmony train-codec my.toml --out runs/codec --resume",
        (
            "harmony train-codec my.toml --out runs/sharper --start runs/codec/codec.safetensors"
            " --decoder-only     the same latents"
        ),
    ],
)
@click.argument("recipe", shell_complete=recipes)
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of clips, for recipes that train on one.",
)
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Run folder."
)
@click.option(
    "--start",
    default="",
    metavar="FILE",
    help="Start from these weights.  [default: fresh weights]",
)
@click.option(
    "--decoder-only",
    is_flag=True,
    help="Leave the encoder of --start as it is, so that models of its latents stay valid.",
)
@click.option("--steps", type=COUNT, default=6000, show_default=True, help="Optimizer steps.")
@click.option("--batch", type=COUNT, default=4, show_default=True, help="Clips per step.")
@click.option(
    "--learning-rate",
    type=click.FloatRange(min=0, min_open=True),
    default=1e-3,
    show_default=True,
    help="Rate of the first half of the steps; it falls to 0 over the second.",
)
@click.option(
    "--examples",
    type=COUNT,
    default=2048,
    show_default=True,
    help="Clips that are held in memory and trained on.",
)
@click.option("--resume", is_flag=True, help="Continue from the last checkpoint in the run folder.")
@set_option
@device_option
def train_codec(
    recipe: str,
    data: Path | None,
    out: Path,
    start: str,
    decoder_only: bool,
    steps: int,
    batch: int,
    learning_rate: float,
    examples: int,
    resume: bool,
    overrides: tuple[str, ...],
    device: str,
) -> None:
    """Train the codec of RECIPE that has weights, on the recipe's data, in its format.

    The run folder gets codec.safetensors in the end: the path that the codec's setting `weights`
    takes. Nothing else of the recipe is built. Ctrl-C saves a checkpoint; the same command with
    --resume continues from there.
    """
    from harmony_parts.assembly.read import read_recipe
    from harmony_parts.train.codec import train_codec as run
    from harmony_parts.train.codec import trainable_codec
    from harmony_parts.train.codec_state import CodecTraining

    if decoder_only and not start:
        raise click.UsageError("--decoder-only needs --start, whose encoder it keeps")
    read = read_recipe(recipe, overrides)
    settings = CodecTraining(
        steps=steps,
        batch=batch,
        learning_rate=learning_rate,
        examples=examples,
        decoder_only=decoder_only,
    )
    began = time.perf_counter()
    weights = run(
        read, settings, out=out, start=start, data_root=data, resume=resume, device=device
    )
    stream, _ = trainable_codec(read)
    click.echo(f"{weights}: trained in {duration(time.perf_counter() - began)}")
    click.echo(f"use: --set codecs.{stream}.weights={weights}")
