"""How near a model comes to the truth: the way from chance, and ratios of counts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmony_parts.bench.against_truth import against_truth
from harmony_parts.metrics.compare import Scored
from harmony_parts.metrics.correlation import Correlation


def scored(paired: list[float], chance: float, count: float, cases: str = "") -> Scored:
    """Clips with a share `paired`, another one re-paired, and a count in every pairing."""
    rows = [
        [{"share": own if i == j else chance, "count": count} for j in range(len(paired))]
        for i, own in enumerate(paired)
    ]
    return Scored(Correlation(), rows, list(cases or range(len(paired))))


@settings(max_examples=20)
@given(st.floats(0.0, 1.0), st.floats(0.0, 0.4), st.integers(0, 99))
def test_the_way_goes_from_chance_to_the_truth(part: float, chance: float, seed: int) -> None:
    spread = np.random.default_rng(seed).normal(0, 0.02, 12)
    truth = [0.9 + each for each in spread]
    model = [chance + part * (each - chance) for each in truth]
    found = against_truth(scored(model, chance, 3.0), scored(truth, 0.1, 2.0))
    assert found["share"].way == pytest.approx(part)
    assert found["share"].low == pytest.approx(part)  # each clip goes the same way
    assert found["share"].truth == pytest.approx(np.mean(truth))
    # counts don't tell pairs from chance, so their ratio counts
    assert found["count"].way is None
    assert found["count"].ratio == pytest.approx(1.5)


def test_only_cases_of_both_count_and_few_have_no_interval() -> None:
    model, truth = scored([1, 0.5, 0, 0], 0, 1, "abcd"), scored([1, 1, 1], 0, 1, "abx")
    found = against_truth(model, truth)
    assert found["share"].truth == 1
    assert found["share"].ratio == 0.75  # two cases are too few to tell the truth from chance
    assert found["share"].low is None
    assert against_truth(model, scored([1.0], 0, 1, "x")) == {}


def test_the_interval_covers_the_spread_over_cases() -> None:
    rng = np.random.default_rng(0)
    model, truth = list(rng.uniform(0, 1, 40)), list(1 - rng.random(40) / 99)
    found = against_truth(scored(model, 0, 1), scored(truth, 0, 1))
    error = np.std(model) / np.sqrt(40)
    assert found["share"].high - found["share"].low == pytest.approx(4 * error, rel=0.15)
