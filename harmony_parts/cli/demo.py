"""`harmony demo`: see and hear what a small model generates, or train one and see."""

from __future__ import annotations

from pathlib import Path

import click

from harmony_parts.cli.command import Command
from harmony_parts.cli.completion import models
from harmony_parts.cli.options import SEED, set_option


@click.command(
    cls=Command,
    short_help="See and hear what a small model generates.",
    examples=[
        "harmony demo",
        "harmony demo --seed 1 --out out/seed1                  other noise, so other clips",
        "harmony demo --model runs/mine --out out/mine          a model of one's own",
        "harmony demo --train                                   trains a smaller one, in minutes",
        "harmony demo --train --steps 200                       faster, with worse clips",
        "harmony demo --train --set train.optimizer.learning_rate=1e-3",
    ],
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the results.  [default: out/demo, or out/demo-train]",
)
@click.option(
    "--seed",
    type=SEED,
    default=0,
    show_default=True,
    help="Seed of the clips; with --train also of weights and data order.",
)
@click.option(
    "--model",
    shell_complete=models,
    help="Name or folder of a model of Soundstage.  [default: harmony-tiny]",
)
@click.option("--train", is_flag=True, help="Train a small model first, of 16 x 16 pixels.")
@click.option(
    "--steps", type=click.IntRange(min=1), help="With --train: steps.  [default: the recipe's]"
)
@set_option
def demo(
    out: Path | None,
    seed: int,
    model: str | None,
    train: bool,
    steps: int | None,
    overrides: tuple[str, ...],
) -> None:
    """Generate clips with a small model that ships: to see and to hear, in two minutes.

    It generates video and sound together, video for a given sound, sound for a given video, words
    in a given voice, and what comes after a clip, each plain and with SyncCFG, for held-out cases,
    beside the truth. The report plays them, and shows the scores of the model's card.

    With --train it trains a smaller model from scratch instead, generates clips in all three tasks,
    and reports their measured sync. All of it needs neither network nor GPU.
    """
    if train:
        if model is not None:
            raise click.UsageError("--train trains a model of its own; leave --model out")
        _train(out or Path("out/demo-train"), seed, steps, overrides)
        return
    if steps or overrides:
        raise click.UsageError("--steps and --set change a training; add --train")
    from harmony_parts.demo import run

    run.demo(out or Path("out/demo"), model or run.MODEL, seed)


def _train(out: Path, seed: int, steps: int | None, overrides: tuple[str, ...]) -> None:
    from harmony_parts.demo.train import train_demo

    try:
        train_demo(
            out=out,
            seed=seed,
            overrides=(*((f"train.steps={steps}",) if steps else ()), *overrides),
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped; the same command continues from there") from None
