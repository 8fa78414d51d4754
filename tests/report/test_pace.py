"""Progress as plain lines."""

from __future__ import annotations

from harmony_parts.report.pace import EVERY, FIRST, Pace


def test_lines_come_every_few_seconds_with_the_time_left():
    clock, lines = [0.0], []
    pace = Pace("sampling", lines.append, now=lambda: clock[0])
    for done in range(1, 41):
        clock[0] = done / 2  # half a second each
        pace.update(done, 40)
    assert lines[0] == f"sampling: {round(2 * FIRST)} of 40, about 18 s left"
    assert len(lines) == 1 + (20 - FIRST - 0.5) // EVERY
    slow: list[str] = []
    pace, clock[0] = Pace("sampling", slow.append, now=lambda: clock[0]), 0.0
    for done in range(1, 5):
        clock[0] = 60 + done  # the first takes a minute
        pace.update(done, 40)
    assert slow == ["sampling: 2 of 40, about 38 s left"]
    quick: list[str] = []
    Pace("sampling", quick.append).update(1, 2)
    assert quick == []
