"""The still picture of a demo: the first case of each set, the truth above the model's clip."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harmony_parts.av import AV
from harmony_parts.demo.make import PLAIN, Shown
from harmony_parts.metrics.events import Events
from harmony_parts.report.contact_sheet import Row, contact_sheet

FRAMES = 16


def write_sheet(shown: Sequence[Shown], path: Path, heading: str) -> Path:
    """Write a PNG of joint cases, with spectrograms; events are marked where a case has some."""
    first: dict[str, Shown] = {}
    for each in shown:
        if each.asked.task == "joint":
            first.setdefault(each.asked.set, each)
    metric, rows = Events(), []
    for name, each in first.items():
        for way, made in each.clips.items():
            if way == PLAIN:
                continue
            title = f"{name}, {way}: {each.asked.request.prompt}"
            events = metric.analyse(made.clip) if each.asked.eventful else AV((), ())
            rows.append(Row(title, made.clip, events))
    return contact_sheet(rows, path, heading, frames=FRAMES, spectrograms=True)
