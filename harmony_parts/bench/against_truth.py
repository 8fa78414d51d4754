"""How near a model's clips come to the true ones, from chance on."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from harmony_parts.metrics.compare import FEWEST, Means, Scored, draw_cases, means, numbered

CLEAR = 2.0  # errors by which the true clips must differ from chance


@attrs.frozen
class Against:
    """A number of a model's clips against that of the true ones, over the cases of both.

    `truth` is its mean over the true clips. `way` = (score - chance) / (truth - chance) is how much
    of the way from chance to the truth the model goes, with the chance of its own clips. It is
    `None` if the truth isn't clearly above or below chance: then `ratio` = score / truth counts,
    such as of numbers of events. `low` and `high` are the interval of 95 % of the one that is
    given, by percentiles of the bootstrap over cases; `None` for fewer than 5 cases.
    """

    truth: float
    way: float | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None

    def json(self) -> dict[str, Any]:
        """The fields that are defined, by name."""
        return {name: value for name, value in attrs.asdict(self).items() if value is not None}


def against_truth(model: Scored, truth: Scored, *, seed: int = 0) -> dict[str, Against]:
    """Name -> how near each number of the model comes to the truth, over the cases of both."""
    shared = set(model.cases) & set(truth.cases)
    model, truth = model.only(shared), truth.only(shared)
    (one, other), number = numbered([model.cases, truth.cases])
    drawn = draw_cases(number, seed)
    found = {}
    for name in [each for each in model.names if each in truth.names]:
        ours, true = means(model, name, drawn[:, one]), means(truth, name, drawn[:, other])
        field, measure = ("way", _way) if _is_clear(true) else ("ratio", _ratio)
        value = float(measure(ours.found, true.found))
        if np.isfinite(value):
            low, high = _span(measure(ours.draws, true.draws), number)
            found[name] = Against(float(true.found[0]), **{field: value}, low=low, high=high)
    return found


def _is_clear(true: Means) -> bool:
    """Whether the true clips differ from chance by more than some errors."""
    error = true.compared().difference_error
    return error is not None and abs(float(true.found[2])) > CLEAR * error > 0


def _way(ours: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Of [3, ...]: paired, re-paired, difference."""
    with np.errstate(divide="ignore", invalid="ignore"):
        share: np.ndarray = (ours[0] - ours[1]) / (true[0] - ours[1])
    return share


def _ratio(ours: np.ndarray, true: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        share: np.ndarray = ours[0] / true[0]
    return share


def _span(draws: np.ndarray, cases: int) -> tuple[float | None, float | None]:
    draws = draws[np.isfinite(draws)]
    if cases < FEWEST or not len(draws):
        return None, None
    low, high = np.percentile(draws, (2.5, 97.5))
    return float(low), float(high)
