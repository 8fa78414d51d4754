"""Cases as HTML: what is asked, above the clips side by side with their measured sync."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

from harmony_parts.demo.make import TRUTH, Made, Numbers, Shown
from harmony_parts.report.page import player
from harmony_parts.report.text import duration

SECTIONS = {
    "joint": ("Picture and sound together", "the words alone."),
    "audio-driven": ("A picture for a given sound", "the sound of the truth, and the words."),
    "video-driven": ("A sound for a given picture", "the picture of the truth, and the words."),
    "speech": (
        "Words in a given voice",
        "the transcript, and a second of the voice, which says something else.",
    ),
    "continuation": ("Going on from a clip", "the beginning of the truth, and the words."),
}
"""The tasks in order: the heading of each, and what is given."""
SIDE = 'style="display:flex;flex-wrap:wrap;gap:.8rem;margin:0 0 1.4rem"'
CLIP = 'style="flex:1 1 160px;max-width:256px;line-height:1.35"'

Link = Callable[[Path], str]


def case_html(shown: Shown, link: Link) -> str:
    """One case; `link` gives the address of a file. No line is empty, for Markdown's sake."""
    asked = shown.asked
    request = asked.request
    words = [f"<b>{escape(request.prompt or '')}</b>", escape(request.sound or "")]
    turns = " / ".join((request.speech or "").splitlines())
    spoken = f"“{escape(turns)}”" if turns else ""
    head = f"{'; '.join(filter(None, words))} {spoken} <small>{asked.name}</small>"
    cells = [_clip(way, made, asked.known, link) for way, made in shown.clips.items()]
    if shown.voice is not None:
        cells.append(f"{player(link(shown.voice))}<br><b>the given voice</b>")
    side = "".join(f"<div {CLIP}>{cell}</div>" for cell in cells)
    return f'<p style="margin-bottom:.3rem">{head}</p>\n<div {SIDE}>{side}</div>\n'


def _clip(way: str, made: Made, known: str, link: Link) -> str:
    note = known if way == TRUTH else f"in {duration(made.seconds)}"
    head = f"<b>{escape(way)}</b>{f', {note}' if note else ''}"
    return f"{player(link(made.file))}<br>{head}<br><small>{in_words(made.numbers)}</small>"


def in_words(numbers: Numbers) -> str:
    """The measured sync of one clip; empty if there is nothing to measure."""
    if "matched" not in numbers:
        return ""
    seen, heard = (f"{numbers[f'{stream}_events']:.0f}" for stream in ("video", "audio"))
    words = [f"{seen} seen, {heard} heard, {numbers['matched']:.0f} of them together"]
    if "offset_ms" in numbers:
        words.append(f"{numbers['offset_ms']:.0f} ms apart")
    if "correlation" in numbers:
        words.append(f"correlation {numbers['correlation']:.2f}")
    return ", ".join(words)


def by_task(shown: Sequence[Shown]) -> dict[str, list[Shown]]:
    """The cases of each task, in the order of SECTIONS; tasks without a case are left out."""
    found = {task: [each for each in shown if each.asked.task == task] for task in SECTIONS}
    return {task: cases for task, cases in found.items() if cases}
