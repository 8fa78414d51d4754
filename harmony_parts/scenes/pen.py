"""Drawing in the coordinates of a head that moves and turns."""

from __future__ import annotations

import attrs
import numpy as np

from harmony_parts.scenes.canvas import Canvas, Colour, Number, Shape

Array = np.ndarray

INK: Colour = (0.10, 0.07, 0.07)
LINE = 0.016  # width of the outlines, in heads


@attrs.frozen(eq=False)
class Pose:
    """Where a head is: its middle (x, y) and `scale`, and how far it is turned.

    `turn` moves features sideways and `nod` down, the more the nearer they are to the viewer. The
    body stays at (`body_x`, `body_y`). Numbers or [T, 1, 1].
    """

    x: Number
    y: Number
    scale: float
    turn: Number
    nod: Number
    body_x: float
    body_y: float


class Pen:
    """Draws shapes given in heads from the middle of the head, x to the right and y down.

    A shape at `near` 0 moves with the head, at 1 with its features, below 0 against them. `drawn`
    adds ink around what has an outline; otherwise the head is shaded.
    """

    def __init__(self, canvas: Canvas, pose: Pose, *, drawn: bool) -> None:
        self.canvas, self.pose, self.drawn, self.scale = canvas, pose, drawn, pose.scale

    def _at(self, x: Number, y: Number, near: float) -> tuple[Number, Number]:
        pose, s = self.pose, self.scale
        return pose.x + s * (x + near * pose.turn), pose.y + s * (y + near * pose.nod)

    def shape_disc(self, x: Number, y: Number, a: Number, b: Number, near: float = 0.0) -> Shape:
        """An ellipse with half axes `a` and `b`."""
        return self.canvas.disc(*self._at(x, y, near), self.scale * a, self.scale * b)

    def shape_box(self, x: Number, y: Number, a: Number, b: Number, near: float = 0.0) -> Shape:
        """An upright rectangle of half sides `a` and `b`."""
        return self.canvas.box(*self._at(x, y, near), self.scale * a, self.scale * b)

    def fill(self, shape: Shape, colour: Colour | Array, opacity: float = 1.0) -> None:
        """Paint a shape."""
        self.canvas.paint(shape, colour, opacity)

    def disc(
        self, x: Number, y: Number, a: Number, b: Number, colour: Colour | Array, near: float = 0.0
    ) -> None:
        """Paint an ellipse."""
        self.fill(self.shape_disc(x, y, a, b, near), colour)

    def box(
        self, x: Number, y: Number, a: Number, b: Number, colour: Colour | Array, near: float = 0.0
    ) -> None:
        """Paint a rectangle."""
        self.fill(self.shape_box(x, y, a, b, near), colour)

    def line(
        self,
        x: Number,
        y: Number,
        to_x: Number,
        to_y: Number,
        half: float,
        colour: Colour | Array,
        near: float = 0.0,
    ) -> None:
        """Paint a line with round ends."""
        ends = (*self._at(x, y, near), *self._at(to_x, to_y, near))
        self.fill(self.canvas.line(*ends, self.scale * half), colour)

    def head(self, x: Number, y: Number, a: float, b: Number, colour: Colour) -> None:
        """Paint the head: flat with an outline, or shaded."""
        if self.drawn:
            self.disc(x, y, a + LINE, b + LINE, INK)
            self.disc(x, y, a, b, colour)
        else:
            at = self._at(x, y, 0.0)
            bright: Colour = tuple(np.minimum(1.12 * np.array(colour), 1))
            self.canvas.sphere(*at, self.scale * a, self.scale * b, bright, 0.05)

    def neck(self, y: float, a: float, b: float, colour: Colour | Array) -> None:
        """A rectangle between head and body."""
        pose, s = self.pose, self.scale
        x = (pose.body_x + pose.x) / 2
        self.fill(self.canvas.box(x, pose.body_y + s * y, s * a, s * b), colour)

    def shoulders(self, y: float, a: float, b: float, colour: Colour | Array) -> None:
        """An ellipse that stays where the body is."""
        pose, s = self.pose, self.scale
        if self.drawn:
            edge = self.canvas.disc(
                pose.body_x, pose.body_y + s * y, s * (a + LINE), s * (b + LINE)
            )
            self.fill(edge, INK)
        self.fill(self.canvas.disc(pose.body_x, pose.body_y + s * y, s * a, s * b), colour)
