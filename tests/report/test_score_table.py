"""The table of scores, and its picture."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from harmony_parts.metrics.compare import Compared
from harmony_parts.report.score_plot import COLOURS, score_plot
from harmony_parts.report.score_table import HEADER, cells, figure, rows, with_error

BOTH = Compared(30, 10, 0.75, 0.0612, 0.3, 0.04, 0.45, 0.05)
ONE = Compared(4, 4, 3.5)


@pytest.mark.parametrize(
    ("mean", "error", "shown"),
    [
        (0.39212, 0.0612, "0.392 ± 0.061"),
        (22.14, 3.1, "22.1 ± 3.1"),
        (-82.0, 110.0, "-82 ± 110"),
        (3.0, None, "3"),
        (0.0123, None, "0.0123"),
        (2.5, 0.0, "2.50 ± 0"),
        (None, None, "–"),
    ],
)
def test_errors_have_two_digits(mean: float | None, error: float | None, shown: str) -> None:
    assert with_error(mean, error) == shown


def test_a_line_has_all_that_a_claim_needs() -> None:
    assert len(cells(BOTH)) == len(HEADER)
    low, high = BOTH.interval("difference") or (0.0, 0.0)
    assert (low, high) == pytest.approx((0.45 - 2.262 * 0.05, 0.45 + 2.262 * 0.05), abs=1e-3)
    assert cells(BOTH)[:4] == ["30", "0.750 ± 0.061", "0.300 ± 0.040", "+0.450 ± 0.050"]
    assert cells(BOTH)[4] == f"{figure(low, high - low)} to {figure(high, high - low)}"
    assert cells(ONE) == ["4", "3.50", "–", "–", "–"]


def test_sides_stand_below_each_other() -> None:
    lines = rows({"a": {"m": {"mine": ONE, "f1": BOTH}}, "b": {"m": {"f1": ONE}}})
    assert [line[:3] for line in lines] == [
        ["F1", "a", "30"],
        ["", "b", "4"],
        ["mine", "a", "4"],
        ["", "b", "0"],
    ]


def test_the_picture_has_a_bar_as_long_as_the_interval(tmp_path: Path) -> None:
    """In the side's colour, from 0.61 to 0.89 on a scale from 0 to 0.89."""
    path = score_plot({"a": {"m": {"f1": BOTH}}}, tmp_path / "p.png", "set")
    with Image.open(path) as picture:
        wide = picture.convert("RGB")
    low, high = BOTH.interval("paired") or (0.0, 0.0)
    longest = max(
        sum(wide.getpixel((x, y)) == COLOURS[0] for x in range(wide.width))
        for y in range(40, wide.height)
    )
    assert longest == pytest.approx((high - low) / high * (1100 - 380 - 40), abs=3)
