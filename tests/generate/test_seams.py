"""Seams of longer clips, in a model that is trained for some minutes (slow)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import seams

from harmony_parts.assembly.read import read_recipe
from harmony_parts.generate.load import load
from harmony_parts.media.clip import Clip
from harmony_parts.train.loop import train


def test_ranks_of_what_has_no_seam_are_uniform() -> None:
    """Their mean over 4,000 places is 1/2 within five standard errors; a jump has rank 1."""
    random = np.random.default_rng(0)
    values = random.random((1000, 90))
    at = [20, 40, 60, 80]
    found = np.array([seams.ranks(row, at, 10) for row in values])
    # of pairs of values, in which neighbours share one: the variance of the mean is that of 1/12
    assert abs(found.mean() - 0.5) < 5 / (12 * found.size) ** 0.5
    values[:, 39] = 2
    assert np.array([seams.ranks(row, at, 10) for row in values])[:, 1].min() == 1


def test_a_click_and_a_cut_are_found() -> None:
    """Where a tone changes its sign at its peak, and where another picture begins."""
    random = torch.Generator().manual_seed(0)
    sound = 0.1 * torch.cos(torch.arange(8000 * 6) / 8000 * 2 * torch.pi * 220.5)[None]
    sound[:, 8000 * 4 :] *= -1
    frames = torch.randint(100, 104, (72, 16, 16, 3), generator=random, dtype=torch.uint8)
    frames[48:] += 60
    found = seams.all_ranks([Clip(frames, 12, sound, 8000)], [36, 48], 24)
    assert found["frames"][0, 1] == 1
    assert found["frames"][0, 0] < 1
    assert found["sample jump"][0, 1] == 1


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_a_trained_model_goes_on_without_a_seam(tmp_path: Path) -> None:
    """Samples jump at seams as elsewhere, and sounds rise and fall less than where independent
    clips are cut together. Nearly as many events are matched at seams as elsewhere.
    """
    torch.set_num_threads(1)
    recipe = read_recipe("demo", (seams.TERMS, "train.steps=500", "train.prepared=1024"))
    model = train(recipe, out=tmp_path / "run", progress=False, device="cpu")
    figures, _ = seams.report(load(model), clips=12)
    ours, cut = figures["continued"], figures["independent"]
    for what, rank in ours["ranks"].items():
        assert rank["interval"][0] < 0.75, (what, rank)
        if what != "frames":
            assert rank["mean"] < cut["ranks"][what]["mean"], what
    jump = ours["ranks"]["sample jump"]
    assert jump["mean"] < cut["ranks"]["sample jump"]["interval"][0]
    assert jump["high"] < 0.2 < cut["ranks"]["sample jump"]["high"]
    assert ours["matched"]["difference"] > -0.1
