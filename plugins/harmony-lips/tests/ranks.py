"""Statistics of ranks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def auc(table: np.ndarray) -> float:
    """Share of (paired, re-paired) couples in which the paired confidence is the higher one.

    `table` [pictures, sounds] has the pairs on its diagonal.
    """
    other = table[~np.eye(len(table), dtype=bool)]
    return float((np.diag(table)[:, None] > other).mean())


def rank_correlation(values: Sequence[float]) -> float:
    """Spearman's, of values with their order. Raises ValueError for equal ones."""
    if len(set(values)) < len(values):
        raise ValueError(f"equal values: {values}")
    ranks = np.argsort(np.argsort(values))
    return float(np.corrcoef(ranks, np.arange(len(values)))[0, 1])
