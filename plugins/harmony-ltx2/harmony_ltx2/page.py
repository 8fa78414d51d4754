"""The page of a comparison: players side by side, and under them what was measured. It needs nothing but the clips beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from harmony_parts.cli.format import duration

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
}
"""The numbers of the metrics that ship, in words; those of others go by their names."""
STYLE = """
:root { color-scheme: light dark; --ink: #20242c; --faint: #6b7280; --line: #d9dde3; --paper: #fff; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8ec; --faint: #9aa3b0; --line: #363c46; --paper: #15181d; } }
body { font: 15px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 2rem; }
h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin: 2.2rem 0 .4rem } p { max-width: 60rem } .note, small, dt { color: var(--faint) }
dl { display: grid; grid-template-columns: max-content auto; gap: .1rem 1rem } dd { margin: 0; overflow-wrap: anywhere }
.wide { overflow-x: auto } table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top }
th { font-weight: 600 } th:first-child { text-align: left; font-weight: 400; min-width: 11rem } td.clip { text-align: left; min-width: 12rem }
video { width: 100%; max-width: 32rem; background: #000; border-radius: 6px } small { font-weight: 400; overflow-wrap: anywhere }
"""
SCRIPT = """
for (const one of document.querySelectorAll("video"))
  one.addEventListener("play", () => document.querySelectorAll("video").forEach(other => other === one || other.pause()));
"""


def page(report: Mapping[str, Any]) -> str:
    """The HTML of a report as `Results.report` makes it."""
    made, title = sum(clip["made"] for clip in report["clips"]), f"{report['name']}: guidances side by side"
    facts = {
        "weights": report["model"],
        "clips": f"{report['form']}; {made} of {len(report['clips'])} are made",
        "noise": f"seed {report['seed']}: all clips of a prompt begin from the same",
        "sampling": f"{report['steps']} steps, {report['solver']}, {report['shift']}",
        "versions": ", ".join(f"{name} {version}" for name, version in report["versions"].items()),
    }
    prompts = dict.fromkeys(clip["prompt"] for clip in report["clips"])
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title><style>{STYLE}</style>
<h1>{escape(title)}</h1>
<dl>{"".join(f"<dt>{name}</dt><dd>{escape(fact)}</dd>" for name, fact in facts.items())}
<dt>files</dt><dd><a href="recipe.toml">recipe.toml</a>, <a href="results.json">results.json</a>; beside each clip, what it was made from</dd></dl>
<h2>Guidances</h2>
{_columns(report["columns"], report["clips"])}
{_together(report["columns"])}
{"".join(_prompt(prompt, report) for prompt in prompts)}
<script>{SCRIPT}</script>
</html>
"""


def _columns(columns: Sequence[Mapping[str, Any]], clips: Sequence[Mapping[str, Any]]) -> str:
    """Settings, passes, and the mean seconds of the clips whose time is known."""

    def told(column: Mapping[str, Any]) -> str:
        took = [clip["seconds"] for clip in clips if clip["column"] == column["name"] and "seconds" in clip]
        said = [f"{column['passes']} {'pass' if column['passes'] == 1 else 'passes'} a step"]
        said += [f"{duration(sum(took) / len(took))} a clip"] if took else []
        return f"{column['guidance']}: {', '.join(said)}"

    rows = [(escape(column["name"]), escape(told(column))) for column in columns]
    return f"<dl>{''.join(f'<dt>{name}</dt><dd>{said}</dd>' for name, said in rows)}</dl>"


def _together(columns: Sequence[Mapping[str, Any]]) -> str:
    """The numbers of all clips of a column, and by chance."""
    rows = _rows([{metric: _paired(numbers) for metric, numbers in column["numbers"].items()} for column in columns])
    if not rows:
        return ""
    return f"""<h2>Measured over all prompts</h2>
{_table(["", *(column["name"] for column in columns)], rows)}
<p class="note">In brackets: the same pictures with the sounds of the other prompts, which is what chance gives; a claim about sync rests on the
difference, over many prompts. Events are sudden rises of brightness and of loudness, and match within the metric's tolerance; pictures without
flashes or cuts may have none. Sharper pictures show more of them, so trust the shares and offsets before F1. The correlation goes by any
motion. What isn't measured here is how good picture and sound are: look and listen.</p>"""


def _paired(numbers: Mapping[str, Mapping[str, float]]) -> dict[str, str]:
    """Number -> "0.71 (0.32)"; how many events there are is no matter of chance."""
    return {
        name: _number(number["paired"])
        + (f" <small>({_number(number['repaired'])})</small>" if "repaired" in number and not name.endswith("_events") else "")
        for name, number in numbers.items()
        if "paired" in number
    }


def _prompt(prompt: str, report: Mapping[str, Any]) -> str:
    """The clips of a prompt beside each other, above their numbers."""
    names = [column["name"] for column in report["columns"]]
    clips = {clip["column"]: clip for clip in report["clips"] if clip["prompt"] == prompt}
    numbers = [
        {metric: {name: _number(value) for name, value in found.items()} for metric, found in clips[name]["numbers"].items()}
        for name in names
    ]
    players = f"<tr><th></th>{''.join(f'<td class=clip>{_clip(clips[name])}</td>' for name in names)}</tr>"
    return f"<h2>{escape(prompt)}</h2>\n{_table(['', *names], _rows(numbers), players)}\n"


def _clip(clip: Mapping[str, Any]) -> str:
    if clip["made"]:
        return f'<video controls loop preload="metadata" src="{escape(clip["file"])}"></video>'
    return f"<small>{escape(clip.get('failed', 'not made yet'))}</small>"


def _rows(columns: Sequence[Mapping[str, Mapping[str, str]]]) -> list[list[str]]:
    """A row for each number of each metric: its label, then what each column has of it."""
    names = dict.fromkeys((metric, name) for column in columns for metric, numbers in column.items() for name in numbers)
    known = list(LABELS)
    order = sorted(names, key=lambda one: known.index(one[1]) if one[1] in known else len(known))
    return [[LABELS.get(name, name), *(column.get(metric, {}).get(name, "–") for column in columns)] for metric, name in order]


def _number(value: float) -> str:
    digits = 0 if value == int(value) or abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:.{digits}f}"


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]], first: str = "") -> str:
    """`rows` begin with a label; cells are HTML."""
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    body = "".join(
        "<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for tag, cell in zip(["th"] + ["td"] * len(row), row)) + "</tr>\n"
        for row in map(list, rows)
    )
    return f'<div class="wide"><table><tr>{head}</tr>\n{first}{body}</table></div>'
