"""The mean of a metric's numbers over clips, and the level of chance: the same clips re-paired."""

from __future__ import annotations

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

Scores = Sequence[dict[str, float]]  # of one clip: one if paired, N - 1 if re-paired


@attrs.frozen
class Compared:
    """The mean of one number over clips, as paired and re-paired, each with its standard error.

    `None` is undefined. `repaired` is, for fewer than two clips, for a metric that reads one
    stream, and for a number that needs a truth or a reference; an error is, if fewer than 5 clips
    have the number.
    """

    paired: float | None = None
    paired_error: float | None = None
    repaired: float | None = None
    repaired_error: float | None = None

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
    `weights`, if it has them: a matched share is all matched events by all events. Standard errors
    are over clips (bootstrap of 500 draws from `seed`). Raises ValueError as `compare`.
    """
    n, streams = len(analyses), streams_read(metric)
    for what, given in (("truths", truths), ("references", references)):
        if given is not None and len(given) != n:
            raise ValueError(f"compare: {n} clips, but {len(given)} {what}")
    for i, found in enumerate(analyses):
        _check_streams(i, found, streams)
    paired = [
        [
            metric.score(
                found.video,
                found.audio,
                None if truths is None else truths[i],
                None if references is None else references[i],
            )
        ]
        for i, found in enumerate(analyses)
    ]
    repaired = [
        [metric.score(analyses[i].video, analyses[(i + s) % n].audio) for s in range(1, n)]
        for i in range(n if len(streams) > 1 else 0)
    ]
    names = dict.fromkeys(
        name for group in (*paired, *repaired) for score in group for name in score
    )
    draws = np.random.default_rng(seed).integers(0, max(n, 1), (DRAWS, n))
    numbers = {
        name: Compared(*pooled(metric, paired, name, draws), *pooled(metric, repaired, name, draws))
        for name in names
    }
    return {name: number for name, number in numbers.items() if number != Compared()}


def _check_streams(i: int, found: AV[Any], streams: Sequence[str]) -> None:
    for stream, what in (("video", "picture"), ("audio", "sound")):
        if stream in streams and getattr(found, stream) is None:
            raise ValueError(f"compare: clip {i} has no {what}, which the metric reads")


def pooled(
    metric: Metric, scores: Sequence[Scores], name: str, draws: np.ndarray
) -> tuple[float | None, float | None]:
    """Weighted mean of a number over groups of scores (a group per clip), and its standard error.

    `draws` [D, N] are the indices of the clips in each draw of the bootstrap.
    """
    top, bottom = np.zeros(len(scores)), np.zeros(len(scores))
    for i, group in enumerate(scores):
        for score in group:
            if name in score:
                weights = metric.weights(score) if isinstance(metric, WeighsNumbers) else {}
                weight = weights.get(name, 1.0)
                top[i] += weight * score[name]
                bottom[i] += weight
    if bottom.sum() <= 0:
        return None, None
    mean = float(top.sum() / bottom.sum())
    if (bottom > 0).sum() < FEWEST:
        return mean, None
    means = top[draws].sum(1) / np.where(bottom[draws].sum(1) > 0, bottom[draws].sum(1), np.nan)
    means = means[np.isfinite(means)]
    return mean, float(means.std(ddof=1)) if len(means) > 1 else None
