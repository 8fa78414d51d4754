"""`harmony demo`: train a small model and see what it generates."""

from __future__ import annotations

from pathlib import Path

import click

from harmony_parts.cli.command import Command
from harmony_parts.cli.options import SEED, set_option


@click.command(
    cls=Command,
    short_help="Train a small model and see what it generates.",
    examples=[
        "harmony demo",
        "harmony demo --out out/seed1 --seed 1",
        "harmony demo --steps 200                        faster, with worse clips",
        "harmony demo --set train.optimizer.learning_rate=1e-3",
    ],
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("out/demo"),
    show_default=True,
    help="Folder for the results.",
)
@click.option(
    "--seed", type=SEED, default=0, show_default=True, help="Seed of weights, data order and clips."
)
@click.option(
    "--steps", type=click.IntRange(min=1), help="Training steps.  [default: the recipe's]"
)
@set_option
def demo(out: Path, seed: int, steps: int | None, overrides: tuple[str, ...]) -> None:
    """Train a small model from scratch, and generate and measure clips with it.

    It generates video and sound together, video for a given sound, and sound for a given video,
    each with and without SyncCFG, and writes a report with their measured sync. It takes minutes on
    a laptop, without network or GPU.
    """
    from harmony_parts.demo.run import demo as run

    try:
        run(
            out=out,
            seed=seed,
            overrides=(*((f"train.steps={steps}",) if steps else ()), *overrides),
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped; the same command continues from there") from None
