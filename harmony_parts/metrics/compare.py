"""The mean of a metric's numbers over clips, against chance: the same clips re-paired."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence, Set
from statistics import NormalDist
from typing import Any

import attrs
import numpy as np

from harmony_parts.av import AV, Event
from harmony_parts.media.clip import Clip
from harmony_parts.metrics.protocol import (
    Metric,
    Reference,
    WeighsNumbers,
    analyse_all,
    streams_read,
)

DRAWS = 500  # of the bootstrap
# A standard error needs this many cases: with fewer, most bootstrap draws repeat each other.
FEWEST = 5


@attrs.frozen
class Compared:
    """The mean of one number over `n` clips of `cases` cases, as paired, re-paired, and the
    `difference` of the two, by which a claim of sync is judged. Each has its standard error.

    `None` is undefined. `repaired` is, for fewer than two clips, for a number of one stream that
    needs no reference, and for a number of two that needs one or a truth, and `difference` with it;
    an error is, if fewer than 5 cases have the number.
    """

    n: int = 0
    cases: int = 0
    paired: float | None = None
    paired_error: float | None = None
    repaired: float | None = None
    repaired_error: float | None = None
    difference: float | None = None
    difference_error: float | None = None

    def json(self) -> dict[str, float]:
        """The fields that are defined, by name."""
        return {name: value for name, value in attrs.asdict(self).items() if value is not None}

    def interval(self, which: str) -> tuple[float, float] | None:
        """The interval of 95 % of "paired", "repaired" or "difference", by Student's t.

        `None` for fewer than 5 cases that have the number as paired.
        """
        mean, error = getattr(self, which), getattr(self, f"{which}_error")
        if mean is None or error is None or self.cases < FEWEST:
            return None
        reach = student_t(self.cases - 1) * error
        return mean - reach, mean + reach


def student_t(freedom: int) -> float:
    """The 0.975 quantile of Student's t, by its expansion about the normal one: exact to 0.5 %
    from 4 degrees of freedom on (Abramowitz and Stegun, 26.7.5).
    """
    z = NormalDist().inv_cdf(0.975)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + sum(term / freedom ** (power + 1) for power, term in enumerate(terms))


def compare(
    metric: Metric,
    clips: Sequence[Clip],
    truths: Sequence[Sequence[Event]] | None = None,
    references: Sequence[Reference] | None = None,
    *,
    cases: Sequence[Hashable] | None = None,
    seed: int = 0,
) -> dict[str, Compared]:
    """Name -> mean of the metric's numbers over `clips`, paired and re-paired.

    See `compare_analyses`, which needs only one clip in memory at a time. Raises ValueError if
    `truths`, `references` or `cases` has another length than `clips`, or a clip lacks a stream.
    """
    analyses = list(analyse_all(metric, clips))
    return compare_analyses(metric, analyses, truths, references, cases=cases, seed=seed)


def compare_analyses(
    metric: Metric,
    analyses: Sequence[AV[Any]],
    truths: Sequence[Sequence[Event]] | None = None,
    references: Sequence[Reference] | None = None,
    *,
    cases: Sequence[Hashable] | None = None,
    seed: int = 0,
) -> dict[str, Compared]:
    """Name -> mean of the metric's numbers over clips, from `metric.analyse` of each of the N.

    `cases` says which clips are of one case, such as the seeds of a prompt; by default each clip is
    a case. Chance is the mean over re-paired clips: each picture with the sounds of all other
    cases. For a metric that reads one stream it is each clip with the references of all other
    cases, of the numbers that need one. Means are weighted by the metric's `weights`, if it has
    them: a matched share is all matched events by all events.

    Standard errors are from a bootstrap over cases, each with all its clips (500 draws from
    `seed`): a case that is drawn w times counts w times as picture and as sound, so the pair i, j
    has the weight w_i w_j, and the pairs of a case with itself stay out of chance. The difference
    is taken within each draw. An interval of 95 % is t errors to either side, with Student's t of
    one less than the number of cases. Raises ValueError as `compare`.
    """
    return compare_scored(score_pairs(metric, analyses, truths, references, cases), seed=seed)


def compare_scored(scored: Scored, *, seed: int = 0) -> dict[str, Compared]:
    """`compare_analyses` of pairs that are scored already."""
    (group,), number = numbered([scored.cases])
    counts = draw_cases(number, seed)[:, group]
    found = {name: means(scored, name, counts).compared() for name in scored.names}
    return {name: compared for name, compared in found.items() if compared != Compared()}


@attrs.frozen(eq=False)
class Scored:
    """All pairs of picture i and sound j that count, scored, and the case of each of the N clips.

    `scores[i][j]` is empty for another clip of the same case.
    """

    metric: Metric
    scores: list[list[dict[str, float]]]
    cases: list[Hashable]

    @property
    def names(self) -> list[str]:
        """The numbers, those of paired clips first."""
        own = [name for i, row in enumerate(self.scores) for name in row[i]]
        return list(dict.fromkeys([*own, *(n for row in self.scores for one in row for n in one)]))

    def only(self, cases: Set[Hashable]) -> Scored:
        """The clips of these cases."""
        kept = [i for i, case in enumerate(self.cases) if case in cases]
        rows = [[self.scores[i][j] for j in kept] for i in kept]
        return Scored(self.metric, rows, [self.cases[i] for i in kept])


def score_pairs(
    metric: Metric,
    analyses: Sequence[AV[Any]],
    truths: Sequence[Sequence[Event]] | None = None,
    references: Sequence[Reference] | None = None,
    cases: Sequence[Hashable] | None = None,
) -> Scored:
    """The scores behind `compare_analyses`. Raises ValueError as `compare`."""
    n, streams = len(analyses), streams_read(metric)
    for what, given in (("truths", truths), ("references", references), ("cases", cases)):
        if given is not None and len(given) != n:
            raise ValueError(f"compare: {n} clips, but {len(given)} {what}")
    for i, found in enumerate(analyses):
        _check_streams(i, found, streams)
    case: list[Hashable] = list(range(n) if cases is None else cases)
    other = _repaired(metric, analyses, references)
    scores = [
        [
            metric.score(
                analyses[i].video,
                analyses[i].audio,
                None if truths is None else truths[i],
                None if references is None else references[i],
            )
            if i == j
            else other(i, j)
            if case[i] != case[j]
            else {}
            for j in range(n)
        ]
        for i in range(n)
    ]
    return Scored(metric, scores, case)


def _repaired(
    metric: Metric, analyses: Sequence[AV[Any]], references: Sequence[Reference] | None
) -> Callable[[int, int], dict[str, float]]:
    """(i, j) -> the numbers of picture i with sound j.

    Of a metric of one stream: those of clip j with the reference of clip i that it lacks without.
    """
    if len(streams_read(metric)) > 1:
        return lambda i, j: metric.score(analyses[i].video, analyses[j].audio)
    if references is None:
        return lambda i, j: {}
    own = [metric.score(each.video, each.audio) for each in analyses]

    def score(i: int, j: int) -> dict[str, float]:
        found = metric.score(analyses[j].video, analyses[j].audio, None, references[i])
        return {name: value for name, value in found.items() if name not in own[j]}

    return score


def numbered(several: Sequence[Sequence[Hashable]]) -> tuple[list[np.ndarray], int]:
    """The numbers of the cases of each sequence, equal for equal cases, and how many there are."""
    number = {c: k for k, c in enumerate(dict.fromkeys(c for cases in several for c in cases))}
    return [np.array([number[c] for c in cases], int) for cases in several], len(number)


def draw_cases(number: int, seed: int) -> np.ndarray:
    """[D, number]: how often each draw of the bootstrap has each case."""
    drawn = np.random.default_rng(seed).integers(0, max(number, 1), (DRAWS, number))
    counts: np.ndarray = (drawn[:, :, None] == np.arange(number)).sum(1)
    return counts


@attrs.frozen(eq=False)
class Means:
    """The means of one number: paired, re-paired and their difference.

    `found` [3], and in each draw `draws` [3, D]; NaN is undefined. `n` clips have it as paired, and
    `cases` [3] cases have each of the three.
    """

    found: np.ndarray
    draws: np.ndarray
    n: int
    cases: tuple[int, int, int]

    def minus(self, other: Means) -> Means:
        """The differences of the means from those of other clips."""
        fewest = [min(pair) for pair in zip(self.cases, other.cases)]
        return Means(
            _less(self.found, other.found),
            self.draws - other.draws,
            min(self.n, other.n),
            (fewest[0], fewest[1], fewest[2]),
        )

    def compared(self) -> Compared:
        """The means and their standard errors."""
        pairs = [
            value
            for k in range(3)
            for value in (_number(self.found[k]), _error(self.draws[k], self.cases[k]))
        ]
        return Compared(self.n, self.cases[0], *pairs)


def means(scored: Scored, name: str, counts: np.ndarray) -> Means:
    """The means of the number `name`, and those of draws that have clips so often: [D, N]."""
    values, weights = _weighted(scored.metric, scored.scores, name)
    (group,), _ = numbered([scored.cases])
    paired, repaired = _means(values, weights, np.ones((1, len(values))))
    own = weights.diagonal() > 0
    others = weights - np.diag(weights.diagonal()) > 0
    cases = len(set(group[own]))
    chance = min(len(set(group[others.any(1)])), len(set(group[others.any(0)])))
    draws = _means(values, weights, counts)
    return Means(
        np.concatenate([paired, repaired, _less(paired, repaired)]),
        np.stack([*draws, draws[0] - draws[1]]),
        int(own.sum()),
        (cases, chance, min(cases, chance)),
    )


def _less(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """one - other; rounding of equal means, such as those of counts, isn't a difference."""
    return np.where(np.isclose(one, other, rtol=1e-12, atol=0), 0.0, one - other)


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


def _error(means: np.ndarray, cases: int) -> float | None:
    """The standard error from the means of draws over that many cases.

    A draw of n from n spreads as sqrt((n - 1) / n) of the error.
    """
    means = means[np.isfinite(means)]
    if cases < FEWEST or len(means) < 2:
        return None
    return float(means.std(ddof=1) * math.sqrt(cases / (cases - 1)))
