"""The table of scores: each number with its n, as paired, re-paired, and the difference.

`harmony bench`, `harmony compare` and `harmony measure` all show it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from harmony_parts.metrics.compare import Compared
from harmony_parts.report.progress import console

LABELS = {
    "video_events": "events seen",
    "audio_events": "events heard",
    "matched": "events matched",
    "video_matched": "share of seen events that are heard",
    "audio_matched": "share of heard events that are seen",
    "offset_ms": "median distance of matched events, ms",
    "offset_bias_ms": "median offset, sound after picture, ms",
    "f1": "F1",
    "correlation": "correlation of motion and sound, at its peak",
    "lag_ms": "lag of the peak, sound after picture, ms",
    "correlation_at_0": "correlation without a lag",
    "word_error": "word error",
    "character_error": "character error",
    "right_voice": "share with the reference's voice",
    "mouth_correlation": "correlation of mouths and sound",
}
"""Labels for the numbers of the built-in metrics; others are shown by name."""
HEADER = ("n", "paired", "re-paired", "difference", "95 %")
MEANING = (
    "Re-paired: the same pictures with the sounds of the other cases, which is chance. After ±: the"
    " standard error over cases, from five cases on. 95 %: the interval of the difference (of the"
    " mean, if a number isn't re-paired)."
)

Numbers = Mapping[str, Mapping[str, Compared]]  # metric -> number -> its means


def label(name: str) -> str:
    """What a number is, in words if it is a built-in metric's."""
    return LABELS.get(name, name)


def ordered(numbers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """(metric, number) once each: those of the built-in metrics first, in the order of LABELS."""
    known = list(LABELS)
    return sorted(
        dict.fromkeys(numbers), key=lambda one: known.index(one[1]) if one[1] in known else 99
    )


def cells(number: Compared) -> list[str]:
    """The cells of a line, for HEADER; "–" for what is undefined."""
    which = "difference" if number.difference is not None else "paired"
    span = number.interval(which)
    return [
        str(number.n),
        with_error(number.paired, number.paired_error),
        with_error(number.repaired, number.repaired_error),
        with_error(number.difference, number.difference_error, sign="+"),
        "–" if span is None else " to ".join(figure(end, span[1] - span[0]) for end in span),
    ]


def rows(sides: Mapping[str, Numbers]) -> list[list[str]]:
    """[label, side, *cells] of every number, the sides (models, guidances) below each other."""
    names = ordered((m, n) for numbers in sides.values() for m in numbers for n in numbers[m])
    found = []
    for metric, name in names:
        first = label(name)
        for side, numbers in sides.items():
            compared = numbers.get(metric, {}).get(name)
            shown = ["0", "–", "–", "–", "–"] if compared is None else cells(compared)
            found.append([first, side, *shown])
            first = ""
    return found


def with_error(mean: float | None, error: float | None, sign: str = "") -> str:
    """ "0.392 ± 0.061": the error with two digits, the mean with as many decimals."""
    if mean is None:
        return "–"
    if error is None:
        return figure(mean, sign=sign)
    return f"{figure(mean, error, sign)} ± {figure(error, error)}"


def figure(value: float, error: float = 0.0, sign: str = "") -> str:
    """A number with the decimals that its error leaves; by default three digits."""
    if error > 0:
        decimals = min(max(1 - math.floor(math.log10(error)), 0), 4)
    elif value == int(value):
        decimals = 0
    else:
        decimals = min(max(2 - math.floor(math.log10(abs(value))), 0), 4)
    return f"{value:{sign}.{decimals}f}"


def print_table(header: Sequence[str], lines: Iterable[Sequence[str]], left: int = 1) -> None:
    """Print a table on stdout, its first `left` columns aligned to the left."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for k, name in enumerate(header):
        table.add_column(
            name, justify="left" if k < left else "right", no_wrap=k > 0, overflow="fold"
        )
    for line in lines:
        table.add_row(*line)
    console().print(table)
