"""Confidence falls with noise, blur and smaller faces.

The strengths were declared before the first run: steps of 10 dB, and halves of the size. The place
of each mouth is given, so that what falls is the measure and not the finder of faces.
"""

from __future__ import annotations

import numpy as np
import pytest
from damage import blurred, noisy, smaller
from harmony_lips.faces import make_finder
from harmony_lips.lips import Lips
from harmony_lips.tracking import find
from talking_heads import boxes, example, take

HALVES = (1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32)
DAMAGES = {
    "noise": (noisy, (30, 20, 10, 0, -10)),
    "blur": (blurred, HALVES),
    "smaller faces": (smaller, HALVES),
}


@pytest.fixture(scope="module")
def drawn():
    """Eight of Soundstage's talking heads, as `whole` gives them."""
    takes = [take(seed) for seed in range(201, 209)]
    return [whole(example(each).clip, boxes(each)) for each in takes]


@pytest.fixture(scope="module")
def people(grid):
    """Seven people, with the box that the finder has found in the undamaged picture."""
    finder, found = make_finder("haar"), []
    for clip in grid:
        height, width = clip.frames.shape[1:3]
        box = find(clip.frames.numpy(), float(clip.fps), finder)[0][0]
        found.append(whole(clip, [(box / (width, height, width, height)).clip(0, 1)]))
    return found


def whole(clip, mouths):
    """(clip, metric that knows the mouths, analysis of the undamaged clip)."""
    metric = Lips(boxes=mouths).build()
    return clip, metric, metric.analyse(clip)


CASES = [(damage, source) for damage in DAMAGES for source in ("drawn", "people")]
FELL_SHORT = pytest.mark.xfail(
    strict=True, reason="0.77, 0.78, 0.81, 0.81, 0: it rises until no speech is found"
)


@pytest.mark.parametrize(
    ("damage", "source"),
    [pytest.param(*c, marks=FELL_SHORT if c == ("noise", "drawn") else ()) for c in CASES],
)
def test_confidence_falls_with_damage(damage, source, request):
    """Spearman's correlation of strength and mean confidence is at most -0.9.

    A clip for which nothing can be measured has confidence 0.
    """
    change, strengths = DAMAGES[damage]
    clips = request.getfixturevalue(source)
    means = [np.mean([confidence(*each, change, s) for each in clips]) for s in strengths]
    print(source, damage, np.round(means, 3))
    assert len(set(means)) == 5  # ties would need other ranks
    ranks = np.argsort(np.argsort(means))
    assert np.corrcoef(ranks, np.arange(5))[0, 1] <= -0.9


def confidence(clip, metric, found, change, strength: float) -> float:
    """Of the damaged stream with the other one as it was."""
    changed = metric.analyse(change(clip, strength))
    damaged = found.replace(**{stream: changed[stream] for stream in changed})
    return metric.score(damaged.video, damaged.audio).get("lip_confidence", 0.0)
