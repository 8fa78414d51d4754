"""Faces of several identities in three drawing styles, with a mouth that can be set."""

from __future__ import annotations

import attrs
import numpy as np

from harmony_parts.scenes.canvas import PAINTS, Canvas, Colour, pick
from harmony_parts.scenes.captions import article
from harmony_parts.scenes.pen import INK, Pen, Pose

Array = np.ndarray

STYLES = ("drawn", "shaded", "robot")
SKINS: tuple[Colour, ...] = (
    (0.96, 0.80, 0.69),
    (0.88, 0.67, 0.52),
    (0.72, 0.50, 0.36),
    (0.50, 0.33, 0.23),
    (0.36, 0.23, 0.17),
)
HAIRS: dict[str, Colour] = {
    "black": (0.08, 0.07, 0.08),
    "brown": (0.30, 0.18, 0.10),
    "blond": (0.85, 0.68, 0.35),
    "red": (0.62, 0.24, 0.10),
    "grey": (0.62, 0.62, 0.64),
}
CUTS = ("short", "long", "bun", "bald", "curly")
IRISES: tuple[Colour, ...] = ((0.25, 0.16, 0.08), (0.20, 0.42, 0.62), (0.25, 0.45, 0.25))


@attrs.frozen
class Face:
    """Who is seen: drawing `style`, colours (`skin` and `iris` by number), hair, and shape.

    `long` is -1 to 1 (round to long face), `eyes` 0 to 1 their size.
    """

    style: str
    skin: int
    hair: tuple[str, Colour]
    cut: str
    iris: int
    shirt: tuple[str, Colour]
    long: float
    eyes: float
    glasses: bool
    beard: bool

    @classmethod
    def draw(cls, rng: np.random.Generator, low: bool) -> Face:
        """A random face; only one with a `low` voice may have a beard."""
        hairs = list(HAIRS)
        hair = hairs[rng.integers(len(hairs))]
        return cls(
            STYLES[rng.integers(3)],
            int(rng.integers(len(SKINS))),
            (hair, HAIRS[hair]),
            CUTS[rng.integers(len(CUTS))],
            int(rng.integers(3)),
            pick(rng, PAINTS),
            rng.uniform(-1, 1),
            rng.uniform(),
            bool(rng.uniform() < 0.3),
            bool(rng.uniform() < 0.45) and low,
        )

    @property
    def caption(self) -> str:
        """Who it is, in words."""
        if self.style == "robot":
            return f"{article(self.shirt[0])} robot"
        hair = "a bald head" if self.cut == "bald" else f"{self.cut} {self.hair[0]} hair"
        if self.cut == "bun":
            hair = f"{self.hair[0]} hair in a bun"
        extras = [hair, *["a beard"] * self.beard, *["glasses"] * self.glasses]
        listed = " and ".join([", ".join(extras[:-1]), extras[-1]] if extras[1:] else extras)
        return f"a {self.style} person with {listed}, in {article(self.shirt[0])} shirt"

    def picture(
        self, canvas: Canvas, place: Pose, opening: Array, width: Array, blink: Array
    ) -> None:
        """Draw it with an `opening` (0 to 1) and `width` (-1 to 1) of the mouth, all [T, 1, 1]."""
        pen = Pen(canvas, place, drawn=self.style == "drawn")
        if self.style == "robot":
            self._robot(pen, opening, width, blink)
        else:
            self._person(pen, opening, width, blink)

    def _person(self, pen: Pen, opening: Array, width: Array, blink: Array) -> None:
        skin, hair = SKINS[self.skin], self.hair[1]
        wide, tall = 0.235, 0.29 + 0.025 * self.long
        dark: Colour = tuple(0.72 * np.array(skin))
        jaw = 0.035 * opening  # the chin follows the mouth
        if self.cut in ("long", "curly"):
            pen.disc(0, -0.02, 1.22 * wide, 1.15 * tall, hair, near=-0.6)
            if self.cut == "long":
                pen.box(0, 0.16, 1.12 * wide, 0.20, hair, near=-0.6)
        if self.cut == "bun":
            pen.disc(0, -tall - 0.03, 0.10, 0.085, hair, near=-0.5)
        pen.neck(0.36, 0.085, 0.13, dark)
        pen.shoulders(0.62, 0.40, 0.22, self.shirt[1])
        for side in (-1, 1):
            pen.disc(side * wide, 0.0, 0.045, 0.065, dark, near=-0.2)
        pen.head(0, jaw / 2, wide, tall + jaw / 2, skin)
        if self.beard:
            chin = pen.shape_disc(0, 0.13 + jaw / 2, 0.88 * wide, 0.17 + jaw / 2)
            pen.fill(chin & pen.shape_disc(0, jaw / 2, wide, tall + jaw / 2, near=0), hair, 0.9)
        self._hair(pen, wide, tall, hair)
        for side in (-1, 1):
            self._eye(pen, side, blink, hair if self.cut != "bald" else INK)
        pen.disc(0.006, 0.055, 0.026, 0.034, dark, near=1.3)
        pen.disc(0, 0.045, 0.022, 0.030, skin, near=1.3)
        self._mouth(pen, opening, width)

    def _hair(self, pen: Pen, wide: float, tall: float, hair: Colour) -> None:
        if self.cut == "bald":
            return
        cap = pen.shape_disc(0, -0.03, 1.06 * wide, 1.02 * tall, near=0)
        fringe = pen.shape_box(0, -tall, 1.3 * wide, 0.48 * tall, near=0.3)
        pen.fill(cap & fringe, hair)
        if self.cut == "curly":
            for k in range(7):
                angle = np.pi * (k / 6)
                x, y = -1.02 * wide * np.cos(angle), -0.06 - 0.92 * tall * np.sin(angle)
                pen.disc(x, y, 0.075, 0.07, hair, near=-0.1)

    def _eye(self, pen: Pen, side: int, blink: Array, brow: Colour) -> None:
        x, size = side * 0.095, 0.034 + 0.012 * self.eyes
        high = np.maximum(0.85 * size * (1 - blink), 0.006)
        pen.disc(x, -0.045, size, high, (0.97, 0.96, 0.95), near=1.0)
        white = pen.shape_disc(x, -0.045, size, high, near=1.0)
        iris = IRISES[self.iris]
        pen.fill(pen.shape_disc(x, -0.043, 0.62 * size, 0.62 * size, near=1.15) & white, iris)
        pen.fill(pen.shape_disc(x, -0.043, 0.32 * size, 0.32 * size, near=1.2) & white, INK)
        pen.disc(x - 0.008, -0.054, 0.008, 0.008 * (1 - blink) + 1e-3, (1.0, 1.0, 1.0), near=1.2)
        pen.line(x - side * 0.035, -0.115, x + side * 0.045, -0.108, 0.011, brow, near=1.0)
        if self.glasses:
            pen.fill(
                pen.shape_disc(x, -0.042, 0.070, 0.062, near=1.2).outline(0.014 * pen.scale),
                (0.08, 0.08, 0.10),
            )
            pen.line(side * 0.028, -0.045, 0, -0.05, 0.006, (0.08, 0.08, 0.10), near=1.2)

    def _mouth(self, pen: Pen, opening: Array, width: Array) -> None:
        y = 0.145 + 0.02 * opening
        half = 0.078 * (1 + 0.32 * width - 0.10 * opening)
        high = 0.004 + 0.072 * opening
        lips: Colour = tuple(np.array(SKINS[self.skin]) * (0.80, 0.42, 0.42))
        pen.disc(0, y, half + 0.017, high + 0.017, lips, near=1.1)
        pen.disc(0, y, half, high, (0.16, 0.03, 0.05), near=1.1)
        inside = pen.shape_disc(0, y, half, high, near=1.1)
        tongue = pen.shape_disc(
            0, y + 0.75 * high + 0.012, 0.7 * half, 0.55 * high + 0.004, near=1.1
        )
        pen.fill(tongue & inside, (0.80, 0.34, 0.36))
        teeth = pen.shape_box(0, y - high, 0.75 * half, 0.022, near=1.1)
        pen.fill(teeth & inside, (0.97, 0.96, 0.92))

    def _robot(self, pen: Pen, opening: Array, width: Array, blink: Array) -> None:
        body, metal = np.array(self.shirt[1]), np.array((0.62, 0.66, 0.70))
        light: Colour = ((0.35, 0.95, 0.85), (1.0, 0.75, 0.25), (0.55, 0.8, 1.0))[self.iris]
        tall = 0.25 + 0.02 * self.long
        pen.neck(0.36, 0.06, 0.12, 0.5 * metal)
        pen.shoulders(0.62, 0.36, 0.20, 0.85 * body)
        pen.line(0, -tall, 0, -tall - 0.10, 0.012, 0.6 * metal, near=0.0)
        pen.disc(0, -tall - 0.12, 0.034, 0.034, light, near=0.0)
        for side in (-1, 1):
            pen.box(side * 0.25, 0.0, 0.035, 0.075, 0.6 * metal, near=-0.2)
        pen.box(0, 0.0, 0.245, tall + 0.01, 0.55 * body, near=0.0)
        pen.box(0, 0.0, 0.228, tall - 0.008, body, near=0.1)
        pen.box(0, -0.05, 0.19, 0.085, (0.06, 0.07, 0.10), near=0.6)
        for side in (-1, 1):
            high = np.maximum(0.045 * (1 - blink), 0.007)
            pen.disc(side * 0.09, -0.05, 0.036 + 0.012 * self.eyes, high, light, near=1.0)
        half, high = 0.085 * (1 + 0.4 * width - 0.1 * opening), 0.006 + 0.068 * opening
        pen.box(0, 0.135, half + 0.022, high + 0.022, 0.4 * metal, near=0.8)
        pen.box(0, 0.135, half, high, (0.05, 0.05, 0.07), near=0.8)
        glow = pen.shape_box(0, 0.135, 0.85 * half, 0.6 * high, near=0.8)
        pen.fill(glow, light, 0.85)
