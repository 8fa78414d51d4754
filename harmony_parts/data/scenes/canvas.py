"""Drawing: anti-aliased shapes by signed distance, over all frames at once.

Coordinates are those of the largest centred square of the picture: x to the right and y down, both
from 0 to 1 (and beyond, if the picture isn't square). A value that changes over time is an array
[T, 1, 1]; a constant one is a number. A shape is a map of signed distances [T or 1, H, W], negative
inside.
"""

from __future__ import annotations

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
        self.image: Array = np.empty((1, height, width, 3), np.float32)
        self.image[:] = background

    def disc(self, x: Number, y: Number, a: Number, b: Number | None = None) -> Array:
        """A circle of radius `a` around (x, y), or an upright ellipse of half axes `a` and `b`.

        The distance of an ellipse is exact only on its edge.
        """
        dx, dy = self.x - np.float32(x), self.y - np.float32(y)
        if b is None:
            return np.sqrt(dx * dx + dy * dy) - np.float32(a)
        return (np.sqrt((dx / np.float32(a)) ** 2 + (dy / np.float32(b)) ** 2) - 1) * np.float32(
            np.minimum(a, b)
        )

    def box(
        self, x: Number, y: Number, half_width: Number, half_height: Number, angle: Number = 0.0
    ) -> Array:
        """A rectangle centred on (x, y), turned by `angle` radians (clockwise on the screen)."""
        dx, dy = self.x - np.float32(x), self.y - np.float32(y)
        if not np.isscalar(angle) or angle:
            c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
            dx, dy = dx * c + dy * s, dy * c - dx * s
        return np.maximum(np.abs(dx) - np.float32(half_width), np.abs(dy) - np.float32(half_height))

    def paint(self, shape: Array, colour: Colour | Array, opacity: Number = 1.0) -> None:
        """Fill a shape; a pixel on its edge gets the share that is covered."""
        cover = np.clip(0.5 - shape / np.float32(self.pixel), 0, 1)
        self.blend(cover * np.float32(opacity), colour)

    def blend(self, cover: Array, colour: Colour | Array) -> None:
        """Blend in `colour` with the weight `cover` [T or 1, H or 1, W or 1], 0 to 1."""
        self.image = self.image + cover[..., None] * (np.asarray(colour, np.float32) - self.image)

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

    def frames(self) -> Array:
        """uint8 [T, H, W, 3]."""
        image = np.clip(self.image * 255 + 0.5, 0, 255).astype(np.uint8)
        return np.broadcast_to(image, (len(self.start), *image.shape[1:])).copy()
