"""The page of a comparison: players side by side, with their numbers below."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from harmony_parts.metrics.compare import Compared
from harmony_parts.report import score_table
from harmony_parts.report.page import html_page, html_table, player
from harmony_parts.report.text import duration

STYLE = """
body { max-width: none; padding: 0 1rem } p { max-width: 60rem } small { font-weight: 400; overflow-wrap: anywhere }
dl { display: grid; grid-template-columns: max-content auto; gap: .1rem 1rem } dd { margin: 0; overflow-wrap: anywhere }
dt { color: var(--faint) } table { width: auto } th, td { text-align: right; vertical-align: top }
th:first-child { text-align: left; font-weight: 400; min-width: 11rem }
td.clip { text-align: left; min-width: 12rem } td.clip video { width: 100%; max-width: 32rem; background: #000; border-radius: 6px }
"""


def page(report: Mapping[str, Any]) -> str:
    """The HTML of a report as `Results.report` makes it."""
    clips, title = report["clips"], f"{report['name']}: guidances side by side"
    facts = {
        "model": report["model"],
        "clips": (f"{report['form']}; {sum(clip['made'] for clip in clips)} of {len(clips)} exist"),
        "noise": "one per prompt and seed; all guidances start from it",
        "sampling": (
            f"steps: {' or '.join(map(str, report['steps']))}; {report['solver']},"
            f" {report['shift']}"
        ),
        "versions": ", ".join(report["versions"]),
    }
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for clip in clips:
        rows.setdefault(clip["file"].partition("/")[2], []).append(clip)
    body = f"""<h1>{escape(title)}</h1>
<dl>{"".join(f"<dt>{name}</dt><dd>{escape(fact)}</dd>" for name, fact in facts.items())}
<dt>files</dt><dd><a href="recipe.toml">recipe.toml</a>, <a href="results.json">results.json</a>; beside each clip, its provenance</dd></dl>
<h2>Guidances</h2>
<dl>{"".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in _columns(report))}</dl>
{_together(report["columns"])}
{"".join(_row(row) for row in rows.values())}"""
    return html_page(title, body, STYLE)


def _columns(report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(name, settings, passes and mean time) of each guidance; then those left out, and why."""
    for column in report["columns"]:
        text = (
            f"{column['guidance']}: {column['passes']:g}"
            f" {'pass' if column['passes'] == 1 else 'passes'} a step"
        )
        yield (
            column["name"],
            text + (f", {duration(column['seconds'])} a clip" if "seconds" in column else ""),
        )
    for name, why in report["left_out"].items():
        yield name, f"left out: {why}"


def _together(columns: Sequence[Mapping[str, Any]]) -> str:
    """The table of scores of all columns' clips."""
    lines = score_table.rows(
        {
            column["name"]: {
                metric: {name: Compared(**number) for name, number in numbers.items()}
                for metric, numbers in column["numbers"].items()
            }
            for column in columns
        }
    )
    if not lines:
        return ""
    return f"""<h2>Measured over all clips</h2>
{html_table(["", "guidance", *score_table.HEADER], ([escape(cell) for cell in line] for line in lines))}
<p class="note">{escape(score_table.MEANING)} Only the
difference, over many clips, shows sync. Events are sudden rises of brightness and of loudness,
and match within the metric's tolerance; frames without flashes or cuts may have none. Sharper frames show more of them, so rely on the
shares and offsets before F1. The correlation uses any motion, and is at chance on speech. The quality of frames and sound isn't measured here: look and listen.</p>"""


def _row(clips: Sequence[Mapping[str, Any]]) -> str:
    """The clips of one prompt and seed side by side, above their numbers."""
    numbers = [
        {
            metric: {name: score_table.figure(x) for name, x in values.items()}
            for metric, values in clip["numbers"].items()
        }
        for clip in clips
    ]
    players = f"<tr><th></th>{''.join(f'<td class=clip>{_clip(clip)}</td>' for clip in clips)}</tr>"
    head = f"<h2>{escape(clips[0]['title'])} <small>seed {clips[0]['seed']}</small></h2>"
    return f"{head}\n{html_table(['', *(clip['column'] for clip in clips)], _rows(numbers), players)}\n"


def _clip(clip: Mapping[str, Any]) -> str:
    if clip["made"]:
        return player(clip["file"])
    return f"<small>{escape(clip.get('failed', 'not generated yet'))}</small>"


def _rows(columns: Sequence[Mapping[str, Mapping[str, str]]]) -> list[list[str]]:
    """A row for each number of each metric: its label, then a cell for each column."""
    names = score_table.ordered((m, n) for column in columns for m in column for n in column[m])
    return [
        [
            score_table.label(name),
            *(column.get(metric, {}).get(name, "–") for column in columns),
        ]
        for metric, name in names
    ]
