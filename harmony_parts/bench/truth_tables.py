"""The tables of a benchmark as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from harmony_parts.bench.against_truth import Against
from harmony_parts.metrics.compare import Compared
from harmony_parts.report.score_table import Numbers, figure, label, ordered

MEANING = (
    "Chance: each picture with the sounds of the other cases, or each sound with their references."
    " Truth: the true clips through the model's codecs. Of the truth: how much of the way from"
    " chance to the truth, in %, or for numbers by which the truth isn't told from chance, such as"
    " counts, × the truth's. In brackets: intervals of 95 % over cases."
)
COUNTS = ("video_events", "audio_events")
Held = Mapping[str, Mapping[str, Mapping[str, Against]]]  # side -> metric -> number


def markdown(
    sets: Mapping[str, Mapping[str, Numbers]],
    against: Mapping[str, Held],
    sides: Iterable[str],
    *,
    for_card: bool = False,
) -> str:
    """A table of each set: n, score, chance and the known truth of every number and side.

    A model's card has only the numbers that tell the set's true clips from chance, and counts of
    events.
    """
    sides = list(sides)
    parts = [
        _table(name, found, against.get(name, {}), sides, for_card) for name, found in sets.items()
    ]
    return "\n\n".join([*parts, MEANING]) + "\n"


def _tells(held: Held, metric: str, number: str) -> bool:
    found = [side[metric][number] for side in held.values() if number in side.get(metric, {})]
    return any(each.way is not None or number in COUNTS for each in found)


def _table(
    name: str, found: Mapping[str, Numbers], held: Held, sides: list[str], for_card: bool
) -> str:
    names = ordered((m, n) for side in sides for m in found[side] for n in found[side][m])
    if for_card:
        names = [each for each in names if _tells(held, *each)]
    head = ["", "", "n", "score", "chance", "truth", "of the truth"]
    lines = [f"{'###' if for_card else '##'} {name}", "", _line(head), _line(["---"] * len(head))]
    for metric, number in names:
        first = label(number)
        for side in sides:
            compared = found[side].get(metric, {}).get(number, Compared())
            true = held.get(side, {}).get(metric, {}).get(number)
            lines.append(_line([first, side, *_cells(compared, true)]))
            first = ""
    return "\n".join(lines)


def _cells(compared: Compared, true: Against | None) -> list[str]:
    cells = [str(compared.n), *(_spread(compared, which) for which in ("paired", "repaired"))]
    return [*cells, "–" if true is None else figure(true.truth), "–" if true is None else _of(true)]


def _spread(compared: Compared, which: str) -> str:
    mean, span = getattr(compared, which), compared.interval(which)
    if mean is None:
        return "–"
    if span is None:
        return figure(mean)
    error = (span[1] - span[0]) / 4
    return f"{figure(mean, error)} [{figure(span[0], error)}, {figure(span[1], error)}]"


def _of(true: Against) -> str:
    if true.way is not None:
        span = "" if true.low is None else f" [{100 * true.low:.0f}, {100 * (true.high or 0):.0f}]"
        return f"{100 * true.way:.0f}{span} %"
    span = "" if true.low is None else f" [{true.low:.2f}, {true.high:.2f}]"
    return f"× {true.ratio:.2f}{span}"


def _line(cells: Iterable[Any]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"
