"""What the reports in HTML share: one file, a style for light and dark, players and tables."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from urllib.parse import quote

STYLE = """
:root { color-scheme: light dark; --ink: #20242c; --faint: #6b7280; --line: #d9dde3; --paper: #fff; --accent: #2e6eb4; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8ec; --faint: #9aa3b0; --line: #363c46; --paper: #15181d; --accent: #7ab0ec; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 1120px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: 0 } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem } a { color: var(--accent) }
p.note { color: var(--faint); margin-top: .2rem } small { color: var(--faint) }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums } th, td { padding: .35rem .6rem; border-bottom: 1px solid var(--line) }
th { text-align: left; font-weight: 600; vertical-align: bottom } td.number { text-align: right; white-space: nowrap }
img { max-width: 100%; border: 1px solid var(--line); border-radius: 6px; background: #fff } svg text { fill: var(--faint); font-size: 11px }
.wide { overflow-x: auto }
"""
ONE_AT_A_TIME = """
for (const one of document.querySelectorAll("video, audio"))
  one.addEventListener("play", () => document.querySelectorAll("video, audio").forEach(other => other === one || other.pause()));
"""


def html_page(title: str, body: str, style: str = "") -> str:
    """A page that needs no other file but those that `body` plays and links."""
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title><style>{STYLE}{style}</style>
{body}
<script>{ONE_AT_A_TIME}</script>
</html>
"""


def player(file: str) -> str:
    """A player of an mp4, or of a sound, `file` beside the page."""
    source = f'controls loop preload="metadata" src="{escape(quote(file))}"'
    if file.endswith(".mp4"):
        return f"<video {source}></video>"
    # by itself it is 300 pixels wide, whatever the place it has
    return f'<audio {source} style="width:100%"></audio>'


def html_table(heads: Iterable[str], rows: Iterable[Iterable[str]], first: str = "") -> str:
    """A table that scrolls by itself; `rows` begin with a label, and cells are HTML.

    `first` are rows above these, as HTML.
    """
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    body = "".join(
        "<tr>"
        + "".join(f"<{tag}>{cell}</{tag}>" for tag, cell in zip(["th"] + ["td"] * len(row), row))
        + "</tr>\n"
        for row in map(list, rows)
    )
    return f'<div class="wide"><table><tr>{head}</tr>\n{first}{body}</table></div>'
