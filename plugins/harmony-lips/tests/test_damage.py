"""Confidence falls with noise, blur and smaller faces.

The strengths were declared before the first run: steps of 10 dB, and halves of the size. The place
of each mouth is given, so that what falls is the measure and not the finder of faces.
"""

from __future__ import annotations

import attrs
import numpy as np
import pytest
from damage import blurred, noisy, smaller
from harmony_lips.faces import make_finder
from harmony_lips.lips import Lips
from harmony_lips.tracking import find
from ranks import auc, rank_correlation
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
FELL_SHORT = {
    ("noise", "drawn"): "0.77, 0.78, 0.81, 0.81, 0: it does no harm until no speech is found",
    (
        "smaller faces",
        "drawn",
    ): "0.72, 0.67, 0.37, 0.38, 0.42: all is chance (0.35) from a mouth of 5 pixels",
}


def marks(case: tuple[str, str]) -> tuple[pytest.MarkDecorator, ...]:
    if case not in FELL_SHORT:
        return ()
    return (pytest.mark.xfail(raises=AssertionError, strict=True, reason=FELL_SHORT[case]),)


@pytest.mark.parametrize(
    ("damage", "source"), [pytest.param(*case, marks=marks(case)) for case in CASES]
)
def test_confidence_falls_with_damage(damage, source, request):
    """Spearman's correlation of strength and mean confidence is at most -0.9.

    A clip for which nothing can be measured has confidence 0.
    """
    change, strengths = DAMAGES[damage]
    clips = request.getfixturevalue(source)
    means = [np.mean([confidence(*each, change, s) for each in clips]) for s in strengths]
    print(source, damage, np.round(means, 3))
    assert rank_correlation(means) <= -0.9


def confidence(clip, metric, found, change, strength: float) -> float:
    """Of the damaged stream with the other one as it was."""
    changed = metric.analyse(change(clip, strength))
    damaged = found.replace(**{stream: changed[stream] for stream in changed})
    return metric.score(damaged.video, damaged.audio).get("lip_confidence", 0.0)


@pytest.mark.parametrize("exponent", [0.5, 1.0])
def test_noise_below_the_speech_hides_no_true_sound(drawn, exponent):
    """Why drawn heads fall short: noise of 30 to 0 dB below the speech takes nothing from AUC.

    It raises the confidence because the square root of the level stretches quiet parts, which noise
    covers: the level itself (exponent 1) has that confidence without noise, and keeps it.
    """
    metric = Lips(boxes=drawn[0][1].spec.boxes, power=exponent).build()
    means = []
    for strength in (30, 20, 10, 0):
        sounds = [
            metric.analyse(attrs.evolve(noisy(clip, strength), frames=None)).audio
            for clip, _, _ in drawn
        ]
        table = np.array(
            [[metric.match(found.video, a).confidence for a in sounds] for *_, found in drawn]
        )
        means.append(float(np.diag(table).mean()))
        print(exponent, strength, round(auc(table), 3), round(means[-1], 3))
        assert auc(table) >= 0.95
    if exponent == 1:
        assert max(means) - min(means) < 0.02
