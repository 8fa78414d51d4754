"""Drawing: anti-aliased shapes by signed distance, over all frames at once.

Coordinates are those of the largest centred square of the picture: x to the right and y down, both
from 0 to 1 (and beyond, if the picture isn't square). A value that changes over time is an array
[T, 1, 1]; a constant one is a number.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
import numpy as np

Array = np.ndarray
Number = float | Array
Colour = tuple[float, float, float]

PAINTS: dict[str, Colour] = {
    "red": (0.85, 0.13, 0.12),
    "orange": (0.93, 0.48, 0.08),
    "yellow": (0.90, 0.80, 0.12),
    "green": (0.18, 0.66, 0.24),
    "blue": (0.18, 0.38, 0.90),
    "purple": (0.58, 0.24, 0.76),
    "pink": (0.92, 0.47, 0.66),
    "white": (0.86, 0.86, 0.84),
}
WALLS: dict[str, Colour] = {
    "black": (0.04, 0.04, 0.05),
    "grey": (0.21, 0.21, 0.22),
    "dark blue": (0.07, 0.10, 0.28),
    "dark green": (0.05, 0.19, 0.12),
    "brown": (0.25, 0.15, 0.08),
}
FLASH: Colour = (1.0, 0.95, 0.80)
# s: about two frames at 12 a second, so that a flash spreads over the frames after its event
FLASH_DECAY = 0.09


def pick(rng: np.random.Generator, colours: dict[str, Colour]) -> tuple[str, Colour]:
    """A random colour: its name and a shade of it, up to a tenth lighter or darker."""
    name = list(colours)[rng.integers(len(colours))]
    r, g, b = np.minimum(np.array(colours[name]) * rng.uniform(0.9, 1.1), 1.0)
    return name, (float(r), float(g), float(b))


@attrs.frozen(eq=False)
class Shape:
    """Signed distances [T or 1, h, w], negative inside, over `rows` and `columns` of the picture.

    All other pixels are outside.
    """

    distance: Array
    rows: slice
    columns: slice

    def __and__(self, other: Shape) -> Shape:
        """What both contain."""
        rows = slice(max(self.rows.start, other.rows.start), min(self.rows.stop, other.rows.stop))
        columns = slice(
            max(self.columns.start, other.columns.start),
            min(self.columns.stop, other.columns.stop),
        )
        return Shape(np.maximum(self._cut(rows, columns), other._cut(rows, columns)), rows, columns)

    def outline(self, width: Number) -> Shape:
        """The line of `width` along the inside of its edge."""
        return attrs.evolve(
            self, distance=np.maximum(self.distance, -self.distance - np.float32(width))
        )

    def _cut(self, rows: slice, columns: slice) -> Array:
        return self.distance[
            :,
            rows.start - self.rows.start : max(rows.stop - self.rows.start, 0),
            columns.start - self.columns.start : max(columns.stop - self.columns.start, 0),
        ]


class Canvas:
    """Frames [T, H, W, 3] to draw on, each exposed from `start` to `end` [T, 1, 1] seconds.

    Moving shapes are drawn at their position at `middle`.
    """

    def __init__(
        self, frames: int, height: int, width: int, fps: float, background: Colour
    ) -> None:
        side = min(height, width)
        self.pixel = 1.0 / side
        self.x = (((np.arange(width, dtype=np.float32) + 0.5) - width / 2) / side + 0.5)[
            None, None, :
        ]
        self.y = (((np.arange(height, dtype=np.float32) + 0.5) - height / 2) / side + 0.5)[
            None, :, None
        ]
        self.start = (np.arange(frames, dtype=np.float64) / fps)[:, None, None]
        self.end = self.start + 1.0 / fps
        self.middle = (self.start + self.end) / 2
        self._rows, self._columns, self._shift = self.y.ravel(), self.x.ravel(), 0.0
        self.image: Array = np.empty((1, height, width, 3), np.float32)
        self.image[:] = background

    def shift(self, right: Array, down: Array) -> None:
        """Move all that is drawn from now on by these distances, [T] each: a shaking camera."""
        self.x = self.x - right.astype(np.float32)[:, None, None]
        self.y = self.y - down.astype(np.float32)[:, None, None]
        self._shift += float(max(np.abs(right).max(), np.abs(down).max()))

    def during(self, begin: float, end: float) -> Canvas | None:
        """The frames that are exposed between two times, to draw on; None if there are none."""
        shown = np.flatnonzero((self.end.ravel() > begin) & (self.start.ravel() < end))
        if not len(shown):
            return None
        self._unfold()
        part, frames = Canvas.__new__(Canvas), slice(int(shown[0]), int(shown[-1]) + 1)
        part.pixel, part._rows, part._columns = self.pixel, self._rows, self._columns
        part.x, part.y = (each[frames] if len(each) > 1 else each for each in (self.x, self.y))
        part._shift = self._shift
        part.start, part.end, part.middle = (
            self.start[frames],
            self.end[frames],
            self.middle[frames],
        )
        part.image = self.image[frames]  # a view
        return part

    def inset(self, x: float, y: float, side: float) -> Canvas:
        """The square from (x, y) to (x + side, y + side), with coordinates from 0 to 1 of its own.

        What reaches beyond it is cut off.
        """
        self._unfold()
        columns = _within(self._columns, x + side / 2, side / 2)
        rows = _within(self._rows, y + side / 2, side / 2)
        part = Canvas.__new__(Canvas)
        part.pixel, part._shift = self.pixel / side, self._shift / side
        part._columns = (self._columns[columns] - np.float32(x)) / np.float32(side)
        part._rows = (self._rows[rows] - np.float32(y)) / np.float32(side)
        part.x = (self.x[:, :, columns] - np.float32(x)) / np.float32(side)
        part.y = (self.y[:, rows] - np.float32(y)) / np.float32(side)
        part.start, part.end, part.middle = self.start, self.end, self.middle
        part.image = self.image[:, rows, columns]  # a view
        return part

    def disc(self, x: Number, y: Number, a: Number, b: Number | None = None) -> Shape:
        """A circle of radius `a` around (x, y), or an upright ellipse of half axes `a` and `b`.

        The distance of an ellipse is exact only on its edge.
        """
        if b is None:
            rows, columns, dx, dy = self._near(x, y, a, a)
            return Shape(np.sqrt(dx * dx + dy * dy) - np.float32(a), rows, columns)
        stretch = self.pixel / np.minimum(a, b)  # the distance is measured along the shorter axis
        rows, columns, dx, dy = self._near(x, y, a * (1 + stretch), b * (1 + stretch))
        distance = (
            np.sqrt((dx / np.float32(a)) ** 2 + (dy / np.float32(b)) ** 2) - 1
        ) * np.float32(np.minimum(a, b))
        return Shape(distance, rows, columns)

    def box(
        self, x: Number, y: Number, half_width: Number, half_height: Number, angle: Number = 0.0
    ) -> Shape:
        """A rectangle centred on (x, y), turned by `angle` radians (clockwise on the screen)."""
        turned = not np.isscalar(angle) or bool(angle)
        reach = np.hypot(half_width, half_height)
        rows, columns, dx, dy = self._near(
            x, y, *((reach, reach) if turned else (half_width, half_height))
        )
        if turned:
            c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
            dx, dy = dx * c + dy * s, dy * c - dx * s
        return Shape(
            np.maximum(np.abs(dx) - np.float32(half_width), np.abs(dy) - np.float32(half_height)),
            rows,
            columns,
        )

    def line(self, x: Number, y: Number, to_x: Number, to_y: Number, half: Number) -> Shape:
        """A line from (x, y) to (to_x, to_y) with round ends, `half` its thickness."""
        across, down = to_x - x, to_y - y
        rows, columns, dx, dy = self._near(
            x + across / 2, y + down / 2, np.abs(across) / 2 + half, np.abs(down) / 2 + half
        )
        dx, dy = dx + np.float32(across / 2), dy + np.float32(down / 2)  # from the first end
        length = np.float32(np.maximum(across * across + down * down, 1e-12))
        u, v = np.float32(across), np.float32(down)
        along = np.clip((dx * u + dy * v) / length, 0, 1)
        return Shape(np.hypot(dx - along * u, dy - along * v) - np.float32(half), rows, columns)

    def profile(
        self, x: Number, y: Number, angle: Number, height: float, half: Callable[[Array], Array]
    ) -> Shape:
        """A body that hangs down from (x, y) by `height`, turned by `angle`.

        `half(share)` is half its width at a share 0 to 1 of its height. The distance is measured
        across the body, so it is exact where the outline is steep.
        """
        reach = float(np.max(half(np.linspace(0, 1, 17)))) + height
        rows, columns, dx, dy = self._near(x, y, reach, reach)
        c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        across, down = dx * c + dy * s, dy * c - dx * s
        wide = half(np.clip(down / np.float32(height), 0, 1)).astype(np.float32)
        ends = np.abs(down - np.float32(height / 2)) - np.float32(height / 2)
        return Shape(np.maximum(np.abs(across) - wide, ends), rows, columns)

    def paint(self, shape: Shape, colour: Colour | Array, opacity: Number = 1.0) -> None:
        """Fill a shape; a pixel on its edge gets the share that is covered."""
        cover = np.clip(0.5 - shape.distance / np.float32(self.pixel), 0, 1)
        self._blend(cover * np.float32(opacity), colour, shape.rows, shape.columns)

    def sphere(
        self, x: Number, y: Number, a: Number, b: Number, colour: Colour, shine: float = 0.5
    ) -> None:
        """A ball with half axes `a` and `b`, lit from the upper left, with a highlight."""
        shape = self.disc(x, y, a, b)
        u = (self.x[:, :, shape.columns] - np.float32(x)) / np.float32(a)
        v = (self.y[:, shape.rows] - np.float32(y)) / np.float32(b)
        w = np.sqrt(np.maximum(1 - u * u - v * v, 0))
        facing = np.float32(-0.45) * u - np.float32(0.6) * v + np.float32(0.66) * w
        light = np.float32(0.35) + np.float32(0.75) * np.maximum(facing, 0)
        high = np.float32(shine) * np.maximum(facing, 0) ** 24
        lit = light[..., None] * np.array(colour, np.float32) + high[..., None]
        self.paint(shape, np.minimum(lit, 1))

    def vignette(self) -> None:
        """Light the wall from its middle."""
        far = np.hypot(self.x - np.float32(0.5), self.y - np.float32(0.35))
        self.shade(np.float32(1.2) - np.float32(0.6) * far)

    def ground(self, y: float, colour: Colour) -> None:
        """A floor below `y` that gets darker towards the viewer, and `vignette` above it."""
        self.vignette()
        light = np.float32(1.12) - np.float32(1.6) * np.maximum(self.y - np.float32(y), 0)
        shape = self.box(0.5, y + 5, 50, 5)
        self.paint(shape, (light[..., None] * np.array(colour, np.float32))[:, shape.rows])

    def blend(self, cover: Array, colour: Colour | Array) -> None:
        """Blend in `colour` with the weight `cover` [T or 1, H, W], 0 to 1."""
        self._blend(cover, colour, slice(0, len(self._rows)), slice(0, len(self._columns)))

    def shade(self, light: Array) -> None:
        """Multiply all colours by `light` [T or 1, H or 1, W or 1]."""
        if len(light) > 1:
            self._unfold()
        self.image *= np.asarray(light, np.float32)[..., None]

    def flash(self, times: Array, strength: Number = 1.0) -> Array:
        """[T, 1, 1]: light that jumps to `strength` at each of `times` (s) and decays.

        It is averaged over each frame's exposure: with u = t - time, the mean of exp(-u / tau) over
        the part of [start, end] with u >= 0. So the brightness of the first two frames shows the
        event's time within the frame.
        """
        times = np.asarray(times, np.float64).reshape(1, 1, -1)
        begin, end = np.maximum(self.start - times, 0), np.maximum(self.end - times, 0)
        light = (
            FLASH_DECAY
            * (np.exp(-begin / FLASH_DECAY) - np.exp(-end / FLASH_DECAY))
            / (self.end - self.start)
        )
        return (light * strength).sum(-1, keepdims=True)

    def glow(
        self,
        x: Number,
        y: Number,
        radius: float,
        light: Array,
        rays: int = 0,
        colour: Colour = FLASH,
    ) -> None:
        """A soft light of strength `light` [T, 1, 1] around (x, y), with that many `rays`."""
        dx, dy = self.x - np.float32(x), self.y - np.float32(y)
        square = (dx * dx + dy * dy) / np.float32(radius * radius)
        if rays:
            square = square * (1 + np.float32(0.5) * np.cos(rays * np.arctan2(dy, dx)))
        self.blend(np.clip(np.exp(-square) * light.astype(np.float32), 0, 1), colour)

    def flare(
        self,
        times: Array,
        x: float | Array,
        y: float | Array,
        radius: float,
        strength: float | Array,
        colour: Colour = FLASH,
    ) -> None:
        """The `glow` of a `flash` at each of `times` [N] (s), at the place and strength of each."""
        numbers = np.broadcast_arrays(np.asarray(times, np.float64), x, y, strength)
        for time, at_x, at_y, strong in zip(*(each.tolist() for each in numbers), strict=True):
            part = self.during(time, time + 7 * FLASH_DECAY)
            if part is not None:
                light = part.flash(np.array([time]), strong)
                part.glow(at_x, at_y, radius, light, colour=colour)

    def frames(self) -> Array:
        """uint8 [T, H, W, 3]."""
        image = np.clip(self.image * 255 + 0.5, 0, 255).astype(np.uint8)
        return np.broadcast_to(image, (len(self.start), *image.shape[1:])).copy()

    def _unfold(self) -> None:
        """Give each frame its own picture."""
        if len(self.image) < len(self.start):
            self.image = np.repeat(self.image, len(self.start), 0)

    def _blend(self, cover: Array, colour: Colour | Array, rows: slice, columns: slice) -> None:
        paint = np.asarray(colour, np.float32)
        if max(len(cover), len(paint) if paint.ndim == 4 else 1) > 1:
            self._unfold()
        part = self.image[:, rows, columns]
        part += cover[..., None] * (paint - part)

    def _near(
        self, x: Number, y: Number, across: Number, down: Number
    ) -> tuple[slice, slice, Array, Array]:
        """Rows and columns within `across` and `down` of (x, y), with a pixel more, and the
        distances of their middles from there.
        """
        columns = _within(self._columns, x, across + self.pixel + self._shift)
        rows = _within(self._rows, y, down + self.pixel + self._shift)
        return (
            rows,
            columns,
            self.x[:, :, columns] - np.float32(x),
            self.y[:, rows] - np.float32(y),
        )


def _within(middles: Array, place: Number, reach: Number) -> slice:
    """The pixels from the least to the greatest of place +- reach."""
    first = int(np.searchsorted(middles, np.min(place - reach)))
    return slice(first, max(first, int(np.searchsorted(middles, np.max(place + reach), "right"))))
