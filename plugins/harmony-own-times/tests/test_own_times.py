"""The contract, the distribution of times, and a training run with a recipe."""

from __future__ import annotations

import pytest
import torch
from harmony_own_times.own_times import OwnTimes

from harmony_parts.assembly.catalogue import Catalogue
from harmony_parts.assembly.read import read_recipe
from harmony_parts.av import AV
from harmony_parts.testing.contracts.tasks import check_task
from harmony_parts.train.loop import train


def draw(n: int, generator: torch.Generator) -> AV[torch.Tensor]:
    """Uniform times of the video, and their squares for the audio."""
    t = torch.rand(n, generator=generator)
    return AV(t, t.square())


@pytest.mark.parametrize("together", [0.0, 0.4, 1.0])
def test_contract(together: float) -> None:
    check_task(OwnTimes(together))


@pytest.mark.parametrize("together", [0.0, 0.4, 1.0])
def test_times_are_shared_with_the_given_probability(together: float) -> None:
    """Otherwise they are uncorrelated."""
    n = 4000
    plan = OwnTimes(together).plan(n, draw, torch.Generator().manual_seed(0), AV(2, 3))
    times = plan.times.map(lambda t: t.per_latent()[:, 0])
    same = times.video.square() == times.audio
    spread = (together * (1 - together) / n) ** 0.5
    assert abs(same.float().mean() - together) <= 4 * spread
    if not same.all():
        apart = torch.stack((times.video[~same], times.audio[~same]))
        assert abs(torch.corrcoef(apart)[0, 1]) < 4 / apart.shape[1] ** 0.5


def test_each_clip_is_trained_once_in_both_streams() -> None:
    plan = OwnTimes(0.4).plan(5, draw, torch.Generator().manual_seed(0), AV(2, 3))
    assert plan.source.tolist() == [0, 1, 2, 3, 4]
    for stream in ("video", "audio"):
        assert plan.weights[stream].tolist() == [1.0] * 5


@pytest.mark.parametrize("together", [-0.1, 1.1, float("nan")])
def test_the_probability_must_be_from_0_to_1(together: float) -> None:
    with pytest.raises(ValueError, match="together"):
        OwnTimes(together)


def test_a_recipe_trains_with_it(tmp_path) -> None:
    parts = Catalogue.discover(only=["own-times"])
    small = [
        "task=own-times/own-times",
        "train.steps=2",
        "train.batch=2",
        "train.prepared=4",
        "denoiser.layers=1",
    ]
    recipe = read_recipe("demo", small, parts=parts)
    assert recipe.task == OwnTimes()
    # as in a process that is started with this plugin
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harmony_parts.assembly.read.catalogue", lambda: parts)
        assert (train(recipe, out=tmp_path) / "model.safetensors").is_file()
