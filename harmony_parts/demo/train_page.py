"""The page of the demo that trains: it plays the clips beside it and shows their numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from harmony_parts.demo.train_table import COLUMNS, table_rows
from harmony_parts.report.page import html_page, player

STYLE = """
.clips { display: grid; grid-template-columns: 11rem repeat(auto-fill, minmax(190px, 1fr)); gap: .6rem; align-items: center; margin-bottom: .6rem }
video { width: 100%; max-width: 192px; image-rendering: pixelated; background: #000; border-radius: 6px }
"""


def write_page(out: Path, report: Mapping[str, Any], files: Mapping[str, Sequence[str]]) -> Path:
    """Write `out`/report.html: players, table, contact sheet, and the losses of `out`/run.

    It links to nothing outside `out`.
    """
    heads = "".join(f"<th>{escape(h)}</th>" for h in ("task", "guidance", *COLUMNS.values()))
    rows = "".join(
        "<tr>"
        + "".join(
            f"<td{'' if n < 2 else ' class=number'}>{escape(cell)}</td>"
            for n, cell in enumerate(row)
        )
        + "</tr>"
        for row in table_rows(report)
    )
    prompts = "".join(f"<small>{escape(prompt)}</small>" for prompt in report["prompts"])
    players = "".join(_players(kind, names) for kind, names in files.items())
    body = f"""<h1>Sound and picture from one small Harmony</h1>
<p class="note">{report["parameters"]:,} parameters, {report["steps"]:,} steps of cross-task training from scratch in {report["seconds"]["training"]:.0f} s,
seed {report["seed"]}. The same weights generate both streams, video for a given sound, and sound for a given video.</p>
<h2>Look and listen</h2>
<div class="clips"><small>caption and sound caption</small>{prompts}</div>{players}
<h2>Measured sync</h2>
<table><tr>{heads}</tr>{rows}</table>
<p class="note">Means over {report["clips"]} clips of scenes that training never saw, with only captions as prompts. An event matches within 0.1 s.
In brackets: the same clips with each other's sounds, which is chance, and the difference with its standard error. Sharper frames show more events, so rely on the matched shares first.</p>
<h2>Contact sheet</h2><p class="note">Red: an event is seen. Green: an event is heard.</p>
<a href="sheet.png"><img src="sheet.png" alt="frames above waveforms"></a>
{_losses(out / "run" / "log.jsonl")}"""
    path = out / "report.html"
    path.write_text(html_page("harmony_parts: demo", body, STYLE), encoding="utf-8")
    return path


def _players(kind: str, names: Sequence[str]) -> str:
    videos = "".join(map(player, names))
    return f'<div class="clips"><div>{escape(kind)}</div>{videos}</div>'


def _losses(log: Path) -> str:
    """A plot of the losses of each task and stream; empty without a log."""
    lines = (
        [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
        if log.is_file()
        else []
    )
    curves: dict[str, list[tuple[float, float]]] = {}
    for line in lines:
        for name, value in line.get("losses", {}).items():
            curves.setdefault(name, []).append((line["step"], value))
    if not curves:
        return ""
    right = max(step for curve in curves.values() for step, _ in curve)
    top = min(2.0, max(value for curve in curves.values() for _, value in curve))
    colours = ("#2e6eb4", "#d6402c", "#168c5a", "#a05cc0", "#c08a1e", "#5a6472")
    parts = []
    for number, (name, curve) in enumerate(sorted(curves.items())):
        colour = colours[number % len(colours)]
        points = " ".join(
            f"{40 + 760 * step / right:.1f},{210 - 190 * min(value, top) / top:.1f}"
            for step, value in curve
        )
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        )
        y = 20 + 20 * number
        parts.append(
            f'<rect x="815" y="{y}" width="10" height="10" fill="{colour}"/><text x="830"'
            f' y="{y + 9}">{escape(name)}</text>'
        )
    axes = '<path d="M40 20 V210 H800" fill="none" stroke="#9aa3b0"/>'
    marks = ((36, 24, f"{top:.1f}"), (36, 214, "0"), (800, 226, f"{right:,} steps"))
    labels = "".join(
        f'<text x="{x}" y="{y}" text-anchor="end">{text}</text>' for x, y, text in marks
    )
    return (
        '<h2>Losses of the run</h2><svg viewBox="0 0 1000 232" role="img" aria-label="losses by'
        f' step">{axes}{labels}{"".join(parts)}</svg>'
    )
