"""What the training loop costs beyond the model: `python -m harmony_parts.benchmarks.train_step`.

Steps of a recipe in CPU time, which other processes on the machine don't count in: whole ones with
their batch, and the same steps' bare work (encoders, denoiser, loss, backward, optimizer) on draws
that are there already. Both are interleaved; the medians are printed.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

import torch

from harmony_parts.assembly.read import read_recipe
from harmony_parts.assembly.recipe import Recipe
from harmony_parts.latents.sources import Batch
from harmony_parts.tasks.packing import plan_each
from harmony_parts.train import step as steps
from harmony_parts.train.data import TrainingData, open_data
from harmony_parts.train.log import Log
from harmony_parts.train.model import build_model
from harmony_parts.train.objective import losses, packed
from harmony_parts.train.state import TrainingState


def measure(name: str, count: int) -> tuple[float, float]:
    """Median seconds of CPU time of (a whole step, its bare work) on the CPU."""
    recipe = read_recipe(name, ["train.prepared=64", "data.size=64"])
    device = torch.device("cpu")
    strategy = recipe.train.strategy.build(device=device)
    with tempfile.TemporaryDirectory() as folder:
        parts, _ = build_model(recipe, device)
        with Log(Path(folder), step=0, steps=1, progress=False) as log:
            data = open_data(recipe, parts, None, strategy, log)
        state = TrainingState(recipe, parts, strategy)
        whole, bare = [], []
        for _ in range(count):
            began = time.process_time()
            batch = steps.draw_batch(state, data.batches)
            steps.train_step(state, batch, recipe)
            whole.append(time.process_time() - began)
            bare.append(_bare(state, steps.draw_batch(state, data.batches), data, recipe))
    return median(whole[2:]), median(bare[2:])


def _bare(state: TrainingState, batch: Batch, data: TrainingData, recipe: Recipe) -> float:
    """Seconds of CPU time of a step's bare work."""
    settings, flow = recipe.train, recipe.flow
    samples = steps.sample_generators(settings.seed, state.step + 1, range(len(batch.names)))
    lengths = batch.latents.map(lambda x: x.shape[1])
    plan = plan_each(recipe.task, flow.draw, samples, lengths)
    noise = steps.draw_noise(batch.latents, plan, samples)
    source = data.batches.source
    draws, _ = data.batches.order.draws(state.place)
    fetched = source.fetch(draws)
    state.optimizer.zero_grad(set_to_none=True)
    began = time.process_time()
    again = source.batch(fetched)
    given = packed(again.conditions, plan)
    model = state.modules["denoiser"]
    losses(model, again.latents, noise, given, plan, flow.path).total.backward()
    state.optimizer.step()
    return time.process_time() - began


def main() -> None:
    """Print both medians and the overhead."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="demo")
    parser.add_argument("--steps", type=int, default=30)
    given = parser.parse_args()
    whole, bare = measure(given.recipe, given.steps)
    times = f"{1e3 * whole:.1f} ms of CPU time a step, {1e3 * bare:.1f} ms bare"
    print(f"{given.recipe}: {times}; overhead {whole / bare - 1:.1%}")


if __name__ == "__main__":
    main()
