"""A picture of scores: each number's mean and chance, with intervals of 95 %."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from harmony_parts.display.pictures import PAPER
from harmony_parts.media.files import replace
from harmony_parts.metrics.compare import Compared
from harmony_parts.report.score_table import Numbers, figure, label, ordered

WIDTH, LEFT, RIGHT, TOP, LINE, GAP = 1100, 380, 40, 54, 24, 22  # pixels
INK, FAINT, CHANCE = (32, 36, 44), (205, 210, 218), (140, 146, 156)
COLOURS = ((46, 110, 180), (214, 100, 44))
Spread = tuple[float, float, float]  # low, mean, high


def score_plot(sides: Mapping[str, Numbers], path: Path, title: str) -> Path:
    """Write a PNG: a panel for each number, each with a scale of its own.

    In it a line for each side: a dot for the mean as paired, a ring for chance, and bars for their
    intervals of 95 %, where there are enough cases.
    """
    names = ordered((m, n) for numbers in sides.values() for m in numbers for n in numbers[m])
    panel = len(sides) * LINE + GAP
    image = Image.new("RGB", (WIDTH, TOP + max(1, len(names)) * panel + 10), PAPER)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(14)
    draw.text((10, 8), title, INK, ImageFont.load_default(18))
    x = LEFT
    for side, colour in zip(sides, COLOURS):
        draw.ellipse((x, 14, x + 8, 22), fill=colour)
        draw.text((x + 14, 9), side, INK, font)
        x += 40 + int(draw.textlength(side, font))
    draw.ellipse((x, 14, x + 8, 22), outline=CHANCE, width=2)
    draw.text((x + 14, 9), "chance (re-paired); bars: 95 %", INK, font)
    for row, (metric, name) in enumerate(names):
        lines = [numbers.get(metric, {}).get(name, Compared()) for numbers in sides.values()]
        top = TOP + row * panel
        draw.text((10, top + (len(sides) * LINE) / 2 - 9), label(name), INK, font)
        _panel(draw, top, [[_spread(line, w) for w in ("repaired", "paired")] for line in lines])
    replace(path, image.save)
    return path


def _spread(number: Compared, which: str) -> Spread | None:
    mean = getattr(number, which)
    if mean is None:
        return None
    low, high = number.interval(which) or (mean, mean)
    return low, mean, high


def _panel(draw: ImageDraw.ImageDraw, top: int, lines: list[list[Spread | None]]) -> None:
    """Draw the lines of one number, each [chance, paired], and their scale."""
    font = ImageFont.load_default(11)
    ends = [end for line in lines for spread in line if spread for end in spread]
    low, high = min([0.0, *ends]), max([0.0, *ends])
    high = low + 1.0 if high == low else high
    bottom = top + len(lines) * LINE

    def at(value: float) -> float:
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    draw.line((LEFT, bottom, WIDTH - RIGHT, bottom), FAINT)
    for value in dict.fromkeys((low, 0.0, high)):
        draw.line((at(value), top, at(value), bottom + 3), FAINT)
        draw.text((at(value), bottom + 3), figure(value), CHANCE, font, anchor="ma")
    for k, (chance, paired) in enumerate(lines):
        y = top + k * LINE + LINE / 2
        if chance:
            _bar(draw, at(chance[0]), at(chance[2]), y + 4, CHANCE)
            x = at(chance[1])
            draw.ellipse((x - 4, y, x + 4, y + 8), PAPER, CHANCE, 2)
        if paired:
            _bar(draw, at(paired[0]), at(paired[2]), y - 4, COLOURS[k % len(COLOURS)])
            x = at(paired[1])
            draw.ellipse((x - 4, y - 8, x + 4, y), COLOURS[k % len(COLOURS)])


def _bar(
    draw: ImageDraw.ImageDraw, left: float, right: float, y: float, colour: tuple[int, int, int]
) -> None:
    draw.line((left, y, right, y), colour, 2)
