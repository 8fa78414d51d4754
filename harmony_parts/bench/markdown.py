"""A benchmark's report, `bench.json`, as a section of a model's card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from harmony_parts.bench.against_truth import Against
from harmony_parts.bench.truth_tables import markdown
from harmony_parts.metrics.compare import Compared
from harmony_parts.report.score_table import HEADER, MEANING, Numbers, rows

FIELDS = [field.name for field in attrs.fields(Compared)]


def scores_section(report: Mapping[str, Any], title: str = "") -> str:
    """The scores of every set as tables, with their errors, chance and intervals.

    If the true clips were measured too, the tables hold the scores against them, and leave out
    numbers that don't tell the truth from chance. `report` is the content of `bench.json`. Raises
    ValueError if it isn't that.
    """
    try:
        sets = {
            name: {side: _numbers(found) for side, found in sides.items()}
            for name, sides in report["sets"].items()
        }
        against = {
            name: {side: _against(found) for side, found in held.items()}
            for name, held in report.get("truth", {}).items()
        }
        sides = [_side(about) for about in report["sides"]]
        case = f"{report['seeds']} clips a case" if report["seeds"] > 1 else "a clip a case"
        measured = f"{case}, from seed {report['seed']}; {', '.join(report['versions'])}"
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"this isn't a report of `harmony bench`: {error!r}") from error
    lines = [f"## Scores{f': {title}' if title else ''}", "", *sides, f"- Measured: {measured}", ""]
    if against:
        names = [about["name"] for about in report["sides"]]
        return "\n".join([*lines, markdown(sets, against, names, for_card=True)])
    for name, found in sets.items():
        several = len(found) > 1
        lines += [f"### {name}", "", *_table(found, several), ""]
    return "\n".join([*lines, MEANING])


def _numbers(found: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Numbers:
    """The means as they were before they were written."""
    return {
        metric: {
            name: Compared(**{key: value for key, value in number.items() if key in FIELDS})
            for name, number in numbers.items()
        }
        for metric, numbers in found.items()
    }


def _against(
    found: Mapping[str, Mapping[str, Mapping[str, Any]]],
) -> dict[str, dict[str, Against]]:
    return {
        metric: {name: Against(**number) for name, number in numbers.items()}
        for metric, numbers in found.items()
    }


def _side(about: Mapping[str, Any]) -> str:
    """What was measured: how a model's clips were made, or a folder."""
    settings = [f"{key} {about[key]}" for key in ("steps", "guidance", "solver") if key in about]
    return f"- {about['name']}: {'; '.join(settings) or 'the clips of a folder'}"


def _table(found: Mapping[str, Numbers], several: bool) -> list[str]:
    head = ["", *(["of"] if several else []), *HEADER]
    body = [line if several else [line[0], *line[2:]] for line in rows(found)]
    rule = ["---"] * len(head)
    return [f"| {' | '.join(line)} |" for line in (head, rule, *body)]
