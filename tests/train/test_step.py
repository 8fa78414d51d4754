"""One training step: what it reports and leaves alone when something goes wrong."""

from __future__ import annotations

import copy
from pathlib import Path

import attrs
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


@attrs.frozen
class FailingBatches:
    """Batches that draw from the global generator and fail: when they are read, or encoded."""

    when: str

    def fetch(self, place: Place) -> tuple[None, Place]:
        if self.when == "fetch":
            raise OSError("the disk is gone")
        return None, Place(batch=9)

    def batch(self, fetched: None) -> Batch:
        torch.rand(3)
        raise OSError("the disk is gone")


@pytest.mark.parametrize("when", ["fetch", "batch"])
def test_a_batch_that_fails_leaves_the_state_unchanged(tmp_path: Path, when: str) -> None:
    """And what the next batch draws from the global generators."""
    state, data = tiny.begin(tiny.recipe(), tmp_path)
    draw_batch(state, data.batches)
    with torch.random.fork_rng(devices=[]):
        state.seed_modules()
        before = torch.get_rng_state()
        with pytest.raises(OSError, match="the disk is gone"):
            draw_batch(state, FailingBatches(when))  # type: ignore[arg-type]
        assert state.place == Place(epoch=0, batch=1)
        draw_batch(state, data.batches)
        assert torch.equal(torch.get_rng_state(), before)


def test_third_party_modules_draw_alike_in_a_resumed_run(tmp_path: Path) -> None:
    """From generators that are seeded at each step, and that no checkpoint holds."""
    recipe = tiny.recipe()
    state, data = tiny.begin(recipe, tmp_path)
    with torch.random.fork_rng(devices=[]):
        drawn = []
        for _ in range(2):
            batch = draw_batch(state, data.batches)
            drawn.append(torch.rand(3))
            train_step(state, batch, recipe)
        torch.manual_seed(99)
        state.step = 1
        draw_batch(state, data.batches)
        assert torch.equal(torch.rand(3), drawn[1])
    assert not torch.equal(*drawn)


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
