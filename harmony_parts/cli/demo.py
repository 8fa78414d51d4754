"""`harmony demo`: the whole way, at a small size."""

from __future__ import annotations

from pathlib import Path

import click

from harmony_parts.cli.command import INTERRUPTED, Command
from harmony_parts.cli.options import SEED, set_option
from harmony_parts.report.progress import complain


@click.command(
    cls=Command,
    short_help="Train a small model and see what it does.",
    examples=[
        "harmony demo",
        "harmony demo --out out/seed1 --seed 1",
        "harmony demo --steps 200                        quicker, and worse",
        "harmony demo --set train.learning_rate=1e-3",
    ],
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("out/demo"),
    show_default=True,
    help="Folder of the results.",
)
@click.option(
    "--seed", type=SEED, default=0, show_default=True, help="Of weights, data order and clips."
)
@click.option(
    "--steps", type=click.IntRange(min=1), help="Training steps.  [default: the recipe's]"
)
@set_option
def demo(out: Path, seed: int, steps: int | None, overrides: tuple[str, ...]) -> None:
    """Train a small model from scratch and see and hear what it does: clips of both streams, video
    for a given sound, sound for a given video, each with and without SyncCFG, and a report with
    their measured sync. It takes minutes on a laptop and needs neither network nor GPU."""
    from harmony_parts.demo.run import demo as run

    try:
        run(
            out=out,
            seed=seed,
            overrides=(*((f"train.steps={steps}",) if steps else ()), *overrides),
        )
    except KeyboardInterrupt:
        complain("stopped; the same command goes on from there")
        raise click.exceptions.Exit(INTERRUPTED) from None
