"""What the tasks of a step cost, counted."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
from helpers import tiny_training as tiny
from torch.utils.flop_counter import FlopCounterMode

from harmony_parts.tasks.joint import Joint
from harmony_parts.tasks.protocol import Task
from harmony_parts.tasks.sampled import Sampled
from harmony_parts.tasks.weighted_sum import WeightedSum
from harmony_parts.train.step import draw_batch, draw_losses


def operations(task: Task, folder: Path) -> int:
    """Floating-point operations of the denoiser of a batch, there and back."""
    recipe = attrs.evolve(tiny.recipe(batch=4, drop={}), task=task)
    state, data = tiny.begin(recipe, folder)
    batch = draw_batch(state, data.batches)  # the encoders' work isn't counted
    detached = {
        name: attrs.evolve(c, tokens=c.tokens.detach(), null=None)
        for name, c in batch.conditions.items()
    }
    batch = attrs.evolve(batch, conditions=detached)
    with FlopCounterMode(display=False) as counter:
        draw_losses(state, batch, recipe, 1, {}).losses.total.backward()
    return int(counter.get_total_flops())


@pytest.mark.filterwarnings("ignore")
def test_the_sum_of_three_losses_costs_three_times_the_joint_one(tmp_path: Path) -> None:
    """Two-way interaction; a sampled task costs as much as the joint one, in every batch."""
    joint = operations(Joint(), tmp_path / "joint")
    assert operations(WeightedSum(), tmp_path / "sum") == 3 * joint
    assert operations(Sampled(), tmp_path / "sampled") == joint
