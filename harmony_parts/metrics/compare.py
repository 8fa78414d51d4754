"""Paired against re-paired: what a metric says of clips, and what it says when each picture gets
the sounds of the other clips.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from harmony_parts.av import AV
from harmony_parts.data.protocol import Event
from harmony_parts.media.clip import Clip
from harmony_parts.metrics.protocol import Metric

DRAWS = 500  # of the bootstrap
# clips that a standard error is drawn from: of fewer, the draws repeat each other and say nothing
FEWEST = 5


def compare(
    metric: Metric,
    clips: Sequence[Clip],
    truths: Sequence[Sequence[Event]] | None = None,
    *,
    seed: int = 0,
) -> dict[str, Any]:
    """The metric's numbers over `clips`, paired and by chance: `compare_found` of what the metric
    finds in each.

    Raises ValueError where `truths` has another length than `clips`, or a clip lacks a stream.
    """
    return compare_found(metric, [metric.analyse(clip) for clip in clips], truths, seed=seed)


def compare_found(
    metric: Metric,
    seen: Sequence[AV[Any]],
    truths: Sequence[Sequence[Event]] | None = None,
    *,
    seed: int = 0,
) -> dict[str, Any]:
    """The same of what `metric.analyse` found in each clip, so that only one clip at a time need be
    in memory.

    Chance is the same outputs re-paired: picture i with sound i + s for all cyclic shifts s = 1 ...
    N - 1. Where the metric has `weights(numbers) -> {name: weight}`, a share or median counts each
    clip by the events that it was taken over; so a matched share is all matched events by all
    events. Returns `{"clips": N, "numbers": {name: {"paired", "paired_error", "repaired",
    "repaired_error"}}}`, floats only; numbers without a meaning are left out (`repaired` of fewer
    than two clips or of what is compared with the truth). Errors are standard errors over clips
    (bootstrap, drawn from `seed`), left out where fewer than 5 clips have the number. Raises
    ValueError as `compare`.
    """
    if truths is not None and len(truths) != len(seen):
        raise ValueError(f"compare: {len(seen)} clips, but truths of {len(truths)}")
    for i, found in enumerate(seen):
        if len(tuple(found)) < 2:
            raise ValueError(
                f"compare: clip {i} has no {'sound' if found.audio is None else 'picture'}; a"
                " metric of sync needs both"
            )
    n = len(seen)
    paired = [
        [metric.score(av["video"], av["audio"], None if truths is None else truths[i])]
        for i, av in enumerate(seen)
    ]
    repaired = [
        [metric.score(seen[i]["video"], seen[(i + s) % n]["audio"]) for s in range(1, n)]
        for i in range(n)
    ]
    draws = (
        np.random.default_rng(seed).integers(0, n, (DRAWS, n)) if n else np.zeros((DRAWS, 0), int)
    )
    numbers: dict[str, dict[str, float]] = {}
    for kind, scores in (("paired", paired), ("repaired", repaired)):
        for name in dict.fromkeys(name for group in scores for score in group for name in score):
            mean, error = pooled(metric, scores, name, draws)
            if mean is not None:
                numbers.setdefault(name, {})[kind] = mean
            if error is not None:
                numbers[name][f"{kind}_error"] = error
    return {"clips": n, "numbers": numbers}


def pooled(
    metric: Metric, scores: Sequence[Sequence[dict[str, float]]], name: str, draws: np.ndarray
) -> tuple[float | None, float | None]:
    """Weighted mean of a number over groups of scores (one group a clip), and its standard error by
    drawing clips anew (`draws` [D, N]).
    """
    weigh = getattr(metric, "weights", None)
    top, bottom = np.zeros(len(scores)), np.zeros(len(scores))
    for i, group in enumerate(scores):
        for score in group:
            if name in score:
                weight = 1.0 if weigh is None else weigh(score).get(name, 1.0)
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
