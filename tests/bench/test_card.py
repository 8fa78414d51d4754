"""A benchmark's scores in a model's card."""

from __future__ import annotations

from harmony_parts.bench.against_truth import Against
from harmony_parts.bench.markdown import scores_section
from harmony_parts.metrics.compare import Compared

SCORES = {"f1": 0.9, "lag_ms": 12.0, "video_events": 3.0, "words": 2.5}
TRUTH = {
    "f1": Against(1.0, way=0.86),
    "lag_ms": Against(8.0, ratio=1.5),
    "video_events": Against(2.5, ratio=1.2),
    "words": Against(2.5, ratio=1.0),
}


def _report(truth: bool) -> dict[str, object]:
    numbers = {name: Compared(n=5, paired=value).json() for name, value in SCORES.items()}
    held = {name: against.json() for name, against in TRUTH.items()}
    report = {
        "sets": {"ambient": {"none": {"events": numbers}}},
        "sides": [{"name": "none", "steps": [16]}],
        "seeds": 1,
        "seed": 0,
        "versions": ["harmony-parts 1"],
    }
    return report | ({"truth": {"ambient": {"none": {"events": held}}}} if truth else {})


def _rows(text: str) -> list[str]:
    return [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")][2:]


def test_numbers_that_do_not_tell_the_truth_from_chance_are_left_out() -> None:
    text = scores_section(_report(truth=True))
    assert _rows(text) == ["events seen", "F1"]
    assert "| F1 | none | 5 | 0.900 | – | 1 | 86 % |" in text.splitlines()


def test_without_the_truth_every_number_is_there() -> None:
    rows = _rows(scores_section(_report(truth=False)))
    assert sorted(rows) == sorted(
        ["events seen", "F1", "lag of the peak, sound after picture, ms", "words"]
    )
