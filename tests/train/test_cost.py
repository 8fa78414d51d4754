"""What the tasks of a step cost, counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest
from helpers import tiny_training as tiny
from torch.utils.flop_counter import FlopCounterMode

from harmony_parts.interaction.none import NoInteraction
from harmony_parts.tasks.joint import Joint
from harmony_parts.tasks.protocol import Task
from harmony_parts.tasks.sampled import Sampled
from harmony_parts.tasks.weighted_sum import WeightedSum
from harmony_parts.train.step import draw_batch, draw_losses


def operations(task: Task, folder: Path, **denoiser: Any) -> int:
    """Floating-point operations of the denoiser of a batch, there and back."""
    recipe = attrs.evolve(tiny.recipe(layers=3, batch=4, drop={}), task=task)
    recipe = attrs.evolve(recipe, denoiser=attrs.evolve(recipe.denoiser, **denoiser))
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


DETACHED = {"driven_interaction": "one_way_detached"}


@pytest.mark.filterwarnings("ignore")
def test_without_the_clean_branchs_gradient_the_sum_costs_seven_thirds(tmp_path: Path) -> None:
    """Forward 1 and backward 2 for each branch: joint 3 + 3, each driven task 3 + 1.

    The joint step needs no gradient of its inputs either, which is half a per cent here.
    """
    settings: dict[str, Any] = {"interaction": NoInteraction(), **DETACHED}
    joint = operations(Joint(), tmp_path / "joint", **settings)
    whole = operations(WeightedSum(), tmp_path / "sum", **settings)
    assert whole == pytest.approx(7 / 3 * joint, rel=0.01)
    assert operations(Sampled(), tmp_path / "sampled", **settings) == joint


@pytest.mark.filterwarnings("ignore")
def test_what_a_clean_stream_doesnt_receive_isnt_computed(tmp_path: Path) -> None:
    """So each direction of the interaction counts twice for the three losses, and not 7/3 times."""
    joint = operations(Joint(), tmp_path / "joint", **DETACHED)
    ratio = operations(WeightedSum(), tmp_path / "sum", **DETACHED) / joint
    assert 2 < ratio < 7 / 3
    one_way: dict[str, Any] = {"driven_interaction": "one_way"}
    assert operations(WeightedSum(), tmp_path / "all", **one_way) == 3 * joint
