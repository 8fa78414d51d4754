"""A hammer strikes an anvil at irregular times: sparks, and a metallic click."""

from __future__ import annotations

import attrs
import numpy as np

from harmony_parts.av import Event
from harmony_parts.scenes.canvas import PAINTS, WALLS, Canvas, Colour, pick
from harmony_parts.scenes.captions import count
from harmony_parts.scenes.mixer import Mixer, Struck
from harmony_parts.scenes.rhythm import Rhythm

PIVOT, REACH = (0.10, 0.50), 0.50  # end of the handle, and distance from there to the head
LIFT, SWING = 0.85, 0.17  # rad, s: the hammer's highest angle, and the duration of its fall


@attrs.frozen
class Hammer:
    """A hammer strikes an anvil; colours and sizes vary."""

    def draw(self, rng: np.random.Generator, seconds: float, rhythm: Rhythm) -> HammerTake:
        """A random hammer for a clip of `seconds`."""
        return HammerTake(
            rng.uniform(),
            rng.uniform(),
            pick(rng, PAINTS),
            pick(rng, WALLS),
            rhythm.times(rng, seconds),
        )


@attrs.frozen(eq=False)
class HammerTake:
    """A hammer: `size` 0 to 1 of its head, `anvil` 0 to 1 (its brightness of sound), colours.

    `times` [N] of the strikes are in s.
    """

    size: float
    anvil: float
    paint: tuple[str, Colour]
    backdrop: tuple[str, Colour]
    times: np.ndarray = attrs.field(converter=np.asarray)

    @property
    def wall(self) -> Colour:
        """The colour of the wall."""
        return self.backdrop[1]

    @property
    def events(self) -> list[Event]:
        """The strikes."""
        place = PIVOT[0] + REACH, PIVOT[1] + 0.07 + 0.03 * self.size
        return [Event(float(t), "strike", place) for t in self.times]

    @property
    def caption(self) -> str:
        """The caption of the picture."""
        return (
            f"a {('small', 'large')[self.size > 0.5]} {self.paint[0]} hammer strikes an anvil, in"
            f" front of a {self.backdrop[0]} wall"
        )

    @property
    def sound_caption(self) -> str:
        """The caption of the sound."""
        return count(len(self.times), f"{('dark', 'bright')[self.anvil > 0.5]} metallic clang")

    def picture(self, canvas: Canvas) -> None:
        """Draw all frames."""
        steel = 0.30 + 0.15 * self.anvil
        metal = (steel, steel, steel * 1.05)
        half = 0.07 + 0.03 * self.size  # half the head's height
        x, y = PIVOT[0] + REACH, PIVOT[1] + half  # point of impact, where the handle is level
        canvas.paint(canvas.box(x + 0.02, y + 0.06, 0.24, 0.06), metal)
        canvas.paint(canvas.box(x + 0.02, y + 0.19, 0.10, 0.10), metal)
        canvas.paint(canvas.box(x + 0.02, y + 5.26, 0.20, 5.0), metal)
        away = np.full_like(canvas.middle, np.inf)
        for time in self.times:
            away = np.minimum(away, np.abs(canvas.middle - time))
        near = 1 - np.minimum(away / SWING, 1)
        angle = -LIFT * (1 - near * near)  # fastest at the impact, at rest at the top
        c, s = np.cos(angle), np.sin(angle)
        canvas.glow(x, y, 0.36, 0.95 * canvas.flash(self.times), rays=6)
        canvas.paint(
            canvas.box(
                PIVOT[0] + REACH / 2 * c, PIVOT[1] + REACH / 2 * s, REACH / 2 + 0.04, 0.035, angle
            ),
            (0.50, 0.34, 0.18),
        )
        canvas.paint(
            canvas.box(
                PIVOT[0] + REACH * c, PIVOT[1] + REACH * s, 0.075 + 0.02 * self.size, half, angle
            ),
            self.paint[1],
        )

    def again(self, rng: np.random.Generator, seconds: float) -> HammerTake:
        """The same hammer at other times."""
        return attrs.evolve(self, times=Rhythm().times(rng, seconds))

    def sound(self, mixer: Mixer) -> None:
        """Inharmonic modes of 700 to 3,500 Hz, lower for a larger hammer."""
        f = 900 * 2 ** (0.7 * self.anvil - 0.4 * self.size)
        body = Struck(
            (f, 1.51 * f, 2.33 * f, 2.91 * f),
            (0.25, 0.22, 0.2, 0.15),
            (0.12, 0.10, 0.08, 0.07),
            0.3,
            0.02,
        )
        for event in self.events:
            mixer.strike(event.time, body, x=PIVOT[0] + REACH)
