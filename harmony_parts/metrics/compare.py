"""The mean of a metric's numbers over clips, against chance: the same clips re-paired."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np

from harmony_parts.av import AV, Event
from harmony_parts.media.clip import Clip
from harmony_parts.metrics.protocol import Metric, Reference, WeighsNumbers, streams_read

DRAWS = 500  # of the bootstrap
# A standard error needs this many clips: with fewer, most bootstrap draws repeat each other.
FEWEST = 5


@attrs.frozen
class Compared:
    """The mean of one number over clips, as paired, re-paired, and the `difference` of the two, by
    which a claim of sync is judged. Each has its standard error.

    `None` is undefined. `repaired` is, for fewer than two clips, for a metric that reads one
    stream, and for a number that needs a truth or a reference, and `difference` with it; an error
    is, if fewer than 5 clips have the number.
    """

    paired: float | None = None
    paired_error: float | None = None
    repaired: float | None = None
    repaired_error: float | None = None
    difference: float | None = None
    difference_error: float | None = None

    def json(self) -> dict[str, float]:
        """The fields that are defined, by name."""
        return {name: value for name, value in attrs.asdict(self).items() if value is not None}


def compare(
    metric: Metric,
    clips: Sequence[Clip],
    truths: Sequence[Sequence[Event]] | None = None,
    references: Sequence[Reference] | None = None,
    *,
    seed: int = 0,
) -> dict[str, Compared]:
    """Name -> mean of the metric's numbers over `clips`, paired and re-paired.

    See `compare_analyses`, which needs only one clip in memory at a time. Raises ValueError if
    `truths` or `references` has another length than `clips`, or a clip lacks a stream.
    """
    analyses = [metric.analyse(clip) for clip in clips]
    return compare_analyses(metric, analyses, truths, references, seed=seed)


def compare_analyses(
    metric: Metric,
    analyses: Sequence[AV[Any]],
    truths: Sequence[Sequence[Event]] | None = None,
    references: Sequence[Reference] | None = None,
    *,
    seed: int = 0,
) -> dict[str, Compared]:
    """Name -> mean of the metric's numbers over clips, from `metric.analyse` of each of the N.

    Chance is the mean over re-paired clips: picture i with sound i + s for all cyclic shifts s = 1
    ... N - 1. A metric that reads one stream isn't re-paired. Means are weighted by the metric's
    `weights`, if it has them: a matched share is all matched events by all events.

    Standard errors are from a bootstrap over clips (500 draws from `seed`): a clip that is drawn w
    times counts w times as picture and as sound, so the pair i, j has the weight w_i w_j, and the
    pairs of a clip with itself stay out of chance. The difference is taken within each draw. An
    interval of 95 % is t errors to either side, with Student's t of N - 1. Raises ValueError as
    `compare`.
    """
    n, streams = len(analyses), streams_read(metric)
    for what, given in (("truths", truths), ("references", references)):
        if given is not None and len(given) != n:
            raise ValueError(f"compare: {n} clips, but {len(given)} {what}")
    for i, found in enumerate(analyses):
        _check_streams(i, found, streams)
    scores = [
        [
            metric.score(
                analyses[i].video,
                analyses[j].audio,
                truths[i] if truths is not None and i == j else None,
                references[i] if references is not None and i == j else None,
            )
            if i == j or len(streams) > 1
            else {}
            for j in range(n)
        ]
        for i in range(n)
    ]
    names = dict.fromkeys(name for i in range(n) for name in scores[i][i])
    names |= dict.fromkeys(name for row in scores for score in row for name in score)
    drawn = np.random.default_rng(seed).integers(0, max(n, 1), (DRAWS, n))
    counts = (drawn[:, :, None] == np.arange(n)).sum(1)
    numbers = {name: _compared(*_weighted(metric, scores, name), counts) for name in names}
    return {name: number for name, number in numbers.items() if number != Compared()}


def _check_streams(i: int, found: AV[Any], streams: Sequence[str]) -> None:
    for stream, what in (("video", "picture"), ("audio", "sound")):
        if stream in streams and getattr(found, stream) is None:
            raise ValueError(f"compare: clip {i} has no {what}, which the metric reads")


def _weighted(
    metric: Metric, scores: Sequence[Sequence[dict[str, float]]], name: str
) -> tuple[np.ndarray, np.ndarray]:
    """[N, N] of picture i with sound j: the number times its weight, and the weight; 0 without."""
    values, weights = np.zeros((2, len(scores), len(scores)))
    for i, row in enumerate(scores):
        for j, score in enumerate(row):
            if name in score:
                own = metric.weights(score) if isinstance(metric, WeighsNumbers) else {}
                weights[i, j] = own.get(name, 1.0)
                values[i, j] = weights[i, j] * score[name]
    return values, weights


def _compared(values: np.ndarray, weights: np.ndarray, counts: np.ndarray) -> Compared:
    """Means over the diagonal (paired) and over the rest of [N, N] (re-paired).

    `counts` [D, N]: how often each draw of the bootstrap has each clip.
    """
    once = np.ones((1, len(values)))
    paired, repaired = _means(values, weights, once)[:, 0]
    paired_draws, repaired_draws = _means(values, weights, counts)
    own = weights.diagonal() > 0
    others = weights - np.diag(weights.diagonal()) > 0
    clips = min(others.any(1).sum(), others.any(0).sum())
    # rounding of equal means, such as those of counts, isn't a difference
    difference = 0.0 if math.isclose(paired, repaired, rel_tol=1e-12) else paired - repaired
    return Compared(
        _number(paired),
        _error(paired_draws, own.sum()),
        _number(repaired),
        _error(repaired_draws, clips),
        _number(difference),
        _error(paired_draws - repaired_draws, min(own.sum(), clips)),
    )


def _means(values: np.ndarray, weights: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """[2, D] weighted means of each draw, paired and re-paired; NaN over nothing."""
    sums = np.empty((2, 2, len(counts)))
    for k, matrix in enumerate((values, weights)):
        own = matrix.diagonal()
        sums[0, k] = counts @ own
        sums[1, k] = ((counts @ (matrix - np.diag(own))) * counts).sum(1)
    means = np.full((2, len(counts)), np.nan)
    np.divide(sums[:, 0], sums[:, 1], out=means, where=sums[:, 1] > 0)
    return means


def _number(mean: float) -> float | None:
    return None if math.isnan(mean) else float(mean)


def _error(means: np.ndarray, clips: int) -> float | None:
    """The standard error from the means of draws over that many clips.

    A draw of n from n spreads as sqrt((n - 1) / n) of the error.
    """
    means = means[np.isfinite(means)]
    if clips < FEWEST or len(means) < 2:
        return None
    return float(means.std(ddof=1) * math.sqrt(clips / (clips - 1)))
