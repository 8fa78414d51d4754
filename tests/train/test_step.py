"""One training step: what it reports and leaves alone when something goes wrong."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from helpers import tiny_training as tiny
from torch import Tensor

from harmony_parts.errors import RunError
from harmony_parts.latents.order import Place
from harmony_parts.latents.sources import Batch, Prepared
from harmony_parts.train.log_means import LogMeans
from harmony_parts.train.step import draw_batch, train_step


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_loss_that_is_not_finite_names_step_task_and_clip(tmp_path: Path) -> None:
    """And leaves the weights as they were."""
    recipe = tiny.recipe(prepared=8, batch=8)
    state, data = tiny.begin(recipe, tmp_path)
    train_step(state, draw_batch(state, data.batches), recipe)
    before = {name: value.clone() for name, value in state.modules.state_dict().items()}
    source = data.batches.source
    assert isinstance(source, Prepared)
    source.latents["audio"][5] = torch.nan
    cause = rf"task joint, (audio|video), clip {source.names[5]}, time 0\.\d+"
    with pytest.raises(RunError, match=rf"step 2: the loss is nan: {cause}"):
        train_step(state, draw_batch(state, data.batches), recipe)
    assert same(dict(state.modules.state_dict()), before)


def test_clips_without_a_reference_audio_are_counted(tmp_path: Path) -> None:
    """As the data set gave them: not those whose voice is dropped."""
    recipe = tiny.recipe(prepared=8, batch=8, drop={"voice": 1.0})
    state, data = tiny.begin(recipe, tmp_path)
    source = data.batches.source
    assert isinstance(source, Prepared)
    source.conditions["voice"].mask[:3] = False
    for _ in range(2):
        train_step(state, draw_batch(state, data.batches), recipe)
    assert state.means.record(2)["without_reference"] == 6
    assert LogMeans.from_state_dict(state.means.state_dict()).without_reference == 6


class FailingBatches:
    """Batches that draw from the global generator before they fail."""

    def batch(self, place: Place) -> tuple[Batch, Place]:
        torch.rand(3)
        raise OSError("the disk is gone")


def test_a_batch_that_fails_leaves_the_state_unchanged(tmp_path: Path) -> None:
    state, data = tiny.begin(tiny.recipe(), tmp_path)
    draw_batch(state, data.batches)
    before = state.random_state()
    with torch.random.fork_rng(devices=[]), pytest.raises(OSError, match="the disk is gone"):
        draw_batch(state, FailingBatches())  # type: ignore[arg-type]
    assert same(before, state.random_state())
    assert state.place == Place(epoch=0, batch=1)


def test_a_state_continues_from_its_state_dict(tmp_path: Path) -> None:
    """After two steps, in a new state of the same recipe: the third step is bit-equal."""
    recipe = tiny.recipe()
    (one, source), (other, others) = (
        (state, data.batches)
        for state, data in (tiny.begin(recipe, tmp_path / name) for name in ("one", "other"))
    )
    with torch.random.fork_rng(devices=[]):
        for _ in range(2):
            train_step(one, draw_batch(one, source), recipe)
        other.load_state_dict(copy.deepcopy(one.state_dict()))
        loss = train_step(one, draw_batch(one, source), recipe)
        assert train_step(other, draw_batch(other, others), recipe) == loss
    assert same(dict(one.modules.state_dict()), dict(other.modules.state_dict()))
    assert same(one.averaged_weights(), other.averaged_weights())
