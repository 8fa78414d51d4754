"""Curves as a PNG: values by step, a colour for each curve."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from harmony_parts.media.files import replace

SIZE, LEFT, RIGHT, TOP, BOTTOM = (1000, 560), 80, 230, 44, 46  # pixels
PAPER, INK, FAINT = (252, 252, 250), (32, 36, 44), (222, 224, 228)
COLOURS = (
    *((38, 98, 190), (214, 64, 44), (22, 140, 90), (200, 140, 20), (122, 70, 170)),
    *((20, 150, 170), (190, 60, 130), (110, 110, 110)),
)
Curve = Sequence[tuple[int, float]]


def draw_curves(curves: Mapping[str, Curve], path: Path, heading: str) -> Path:
    """Write a PNG of curves (step, value), with a legend in their order.

    Values that aren't finite are left out. The vertical axis covers all others. Raises ValueError
    if no curve has a value.
    """
    finite = {n: [(s, v) for s, v in c if math.isfinite(v)] for n, c in curves.items()}
    points = [point for curve in finite.values() for point in curve]
    if not points:
        raise ValueError("there is nothing to plot: the log has no numbers yet")
    last = max(step for step, _ in points)
    ticks = _ticks(min(v for _, v in points), max(v for _, v in points))
    low, high = ticks[0], ticks[-1]
    width, height = SIZE[0] - LEFT - RIGHT, SIZE[1] - TOP - BOTTOM

    def at(step: float, value: float) -> tuple[float, float]:
        return LEFT + width * step / last, TOP + height * (high - value) / (high - low)

    image = Image.new("RGB", SIZE, PAPER)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(13)
    draw.text((LEFT, 14), heading, INK, font)
    for tick in ticks:
        x, y = at(0, tick)
        draw.line([(x, y), (x + width, y)], FAINT)
        draw.text((x - 8, y), f"{tick:.4g}", INK, font, anchor="rm")
    for step in sorted({round(last * k / 4) for k in range(5)}):
        x, y = at(step, low)
        draw.text((x, y + 8), f"{step:,}", INK, font, anchor="mt")
    draw.text((LEFT + width / 2, SIZE[1] - 16), "step", INK, font, anchor="mt")
    for number, (name, curve) in enumerate(finite.items()):
        colour = COLOURS[number % len(COLOURS)]
        places = [at(*point) for point in curve]
        if len(places) > 1:
            draw.line(places, colour, 2, joint="curve")
        elif places:
            x, y = places[0]
            draw.ellipse([x - 3, y - 3, x + 3, y + 3], colour)
        y = TOP + 20 * number
        draw.line([(SIZE[0] - RIGHT + 16, y), (SIZE[0] - RIGHT + 36, y)], colour, 3)
        draw.text((SIZE[0] - RIGHT + 44, y), name, INK, font, anchor="lm")
    replace(path, image.save)
    return path


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers from at most `low` to at least `high`, four to nine of them."""
    span = (high - low) or abs(high) or 1.0
    size = 10.0 ** math.floor(math.log10(span / 4))
    step = next(size * k for k in (1, 2, 5, 10) if span / (size * k) <= 6)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [step * n for n in range(first, max(last, first + 1) + 1)]
