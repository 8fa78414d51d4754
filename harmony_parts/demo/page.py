"""The page of the demo: players of its clips, and the scores from the model's card."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import groupby
from pathlib import Path

from harmony_parts.demo.make import Shown
from harmony_parts.demo.players import SECTIONS, by_task, case_html
from harmony_parts.report.page import html_page, html_table

STYLE = "video, audio { width: 100%; image-rendering: pixelated; border-radius: 6px } video { background: #000 } th, td { text-align: right } th:first-child, td:first-child { text-align: left }"
MEANING = (
    "Under a clip with events: the flashes and sounds that were found in it. That is one clip, by one"
    " seed, made just now: look and listen, and read nothing into a difference. What the model can"
    " do is in the scores of its card, below. Plain clips are those without SyncCFG; what else the"
    " model's guidance has, as text guidance of its sound, is in both, and so is the noise they begin"
    " with."
)


def write_page(
    out: Path, title: str, facts: str, shown: Sequence[Shown], model: str, card: Path
) -> Path:
    """Write `out`/report.html: the clips beside it, the contact sheet, and the card's scores.

    `card` is the model's README.md, `model` what the model is called on the command line.
    """
    body = [f"<h1>{escape(title)}</h1>", f'<p class="note">{escape(facts)}</p>']
    body += ["<h2>Made just now</h2>", f'<p class="note">{escape(MEANING)}</p>']
    for task, cases in by_task(shown).items():
        heading, given = SECTIONS[task]
        body.append(f'<h3>{heading}</h3><p class="note">Given: {given}</p>')
        body += [case_html(each, lambda file: file.relative_to(out).as_posix()) for each in cases]
    body.append(
        '<h2>At a glance</h2><p class="note">The first case of each set: frames above the'
        " spectrogram of the sound. Red: an event is seen. Green: an event is heard.</p>"
        '<a href="sheet.png"><img src="sheet.png" alt="frames above spectrograms"></a>'
    )
    body.append(_card(card, model))
    file = out / "report.html"
    file.write_text(html_page(title, "\n".join(body), STYLE), encoding="utf-8")
    return file


def _card(card: Path, model: str) -> str:
    scores = scores_of(card.read_text(encoding="utf-8") if card.is_file() else "")
    if not scores:
        return (
            "<h2>Scores</h2><p>The card of this model has none."
            f" <code>harmony bench {escape(model)}</code> measures some.</p>"
        )
    return (
        '<h2>Scores, from the card</h2><p class="note">Measured when the model was released, over'
        " many cases; none of the clips above is among the numbers. To measure them anew:"
        f" <code>harmony bench {escape(model)}</code>.</p>{in_html(scores)}"
    )


def scores_of(card: str) -> list[str]:
    """The lines of the sections "Scores" of a card, which `harmony ship` writes."""
    lines, inside = [], False
    for line in card.splitlines():
        if line.startswith("## "):
            inside = line.startswith("## Scores")
        if inside:
            lines.append(line)
    return lines


def in_html(lines: Sequence[str]) -> str:
    """The Markdown of scores as HTML: headings, lists, tables and paragraphs."""
    pieces = []
    for kind, group in groupby((line for line in lines if line.strip()), _kind):
        found = list(group)
        if kind == "table":
            head, _, *rows = map(_cells, found)
            pieces.append(html_table(head, [[escape(cell) for cell in row] for row in rows]))
        elif kind == "list":
            pieces.append(f"<ul>{''.join(f'<li>{escape(line[2:])}</li>' for line in found)}</ul>")
        elif kind == "p":
            pieces.append(f"<p>{escape(' '.join(found))}</p>")
        else:
            pieces += [f"<{kind}>{escape(line.lstrip('# '))}</{kind}>" for line in found]
    return "\n".join(pieces)


def _kind(line: str) -> str:
    if line.startswith("#"):
        return f"h{len(line) - len(line.lstrip('#')) + 1}"
    return "table" if line.startswith("|") else "list" if line.startswith("- ") else "p"


def _cells(line: str) -> list[str]:
    inside = line.strip().removeprefix("|").removesuffix("|")
    return [cell.strip() for cell in inside.split("|")]
