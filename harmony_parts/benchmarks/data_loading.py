"""How much of a training step waits for data: prepared clips of the demo's size, from disk.

    python -m harmony_parts.benchmarks.data_loading --clips 256 --steps 40

It prepares clips of Soundstage in a temporary folder, trains on them by `train_step`, and prints
the share of the time in which a step computes, with and without a worker that reads ahead.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import attrs
import click
import torch

from harmony_parts.assembly.read import read_recipe
from harmony_parts.assembly.recipe import Recipe
from harmony_parts.data.soundstage import Soundstage
from harmony_parts.latents.prepare_shards import prepare_shards
from harmony_parts.sources.shards import Shards
from harmony_parts.train.data import open_data
from harmony_parts.train.log import Log
from harmony_parts.train.model import build_model
from harmony_parts.train.state import TrainingState
from harmony_parts.train.step import draw_batch, train_step

WARM_UP = 5  # steps that aren't counted


@attrs.frozen
class Loading:
    """Seconds of all counted steps together: waiting for the batch, and computing."""

    workers: int
    waiting: float
    computing: float

    @property
    def busy(self) -> float:
        """The share of the time in which the step computes."""
        return self.computing / (self.waiting + self.computing)


def measure(recipe: Recipe, root: Path, steps: int, workers: int) -> Loading:
    """Train on the prepared clips in `root` for so many steps."""
    cpu = torch.device("cpu")
    parts, _ = build_model(recipe, cpu)
    with (
        tempfile.TemporaryDirectory() as folder,
        Log(Path(folder), step=0, steps=steps, progress=False) as log,
    ):
        strategy = recipe.train.strategy.build(device=cpu)
        data = open_data(recipe, parts, root, strategy, log, workers=workers)
        state, waiting, computing = TrainingState(recipe, parts, strategy), 0.0, 0.0
        for step in range(WARM_UP + steps):
            began = time.perf_counter()
            batch = draw_batch(state, data.batches)
            drawn = time.perf_counter()
            train_step(state, batch, recipe)
            if step >= WARM_UP:
                waiting += drawn - began
                computing += time.perf_counter() - drawn
        data.batches.close()
    return Loading(workers, waiting, computing)


@click.command()
@click.option("--recipe", default="demo", show_default=True)
@click.option("--clips", default=256, show_default=True)
@click.option("--steps", default=40, show_default=True)
def main(recipe: str, clips: int, steps: int) -> None:
    """Print the share of busy time, without workers and with one and two."""
    read = attrs.evolve(read_recipe(recipe), data=Soundstage(size=clips), source=Shards())
    with tempfile.TemporaryDirectory() as folder:
        prepare_shards(read, Path(folder, "clips"))
        for workers in (0, 1, 2):
            found = measure(read, Path(folder, "clips"), steps, workers)
            waiting, computing = (x / steps * 1e3 for x in (found.waiting, found.computing))
            click.echo(
                f"{workers} workers: a step waits {waiting:.1f} ms and computes {computing:.1f} ms:"
                f" {found.busy:.1%} busy"
            )


if __name__ == "__main__":
    main()
