"""The table of the report of a demo that trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

COLUMNS = {
    "video_matched": "seen events that are heard",
    "audio_matched": "heard events that are seen",
    "offset_ms": "median offset, ms",
    "video_events": "events seen",
    "audio_events": "events heard",
    "f1": "F1",
}


def table_rows(report: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """A row per kind of clip, a column per number.

    In brackets after shares and F1: chance, and the difference from it with its error.
    """

    def cells(numbers: Mapping[str, Any]) -> list[str]:
        def cell(name: str) -> str:
            number = numbers.get(name, {})
            if "paired" not in number:
                return "-"
            digits = 0 if name == "offset_ms" else 1 if name.endswith("events") else 2
            chance = f" ({_chance(number)})" if digits == 2 and "repaired" in number else ""
            return f"{number['paired']:.{digits}f}{chance}"

        return [cell(name) for name in COLUMNS]

    rows = [("truth", "", *cells(report["truth"]))]
    return rows + [(m["task"], m["guidance"], *cells(m["numbers"])) for m in report["made"]]


def _chance(number: Mapping[str, float]) -> str:
    error = f" ± {number['difference_error']:.2f}" if "difference_error" in number else ""
    return f"{number['repaired']:.2f}; {number['difference']:+.2f}{error}"
