"""A hammer strikes a hanging bell, which swings and gleams."""

from __future__ import annotations

from functools import partial

import attrs
import numpy as np

from harmony_parts.av import Event
from harmony_parts.scenes.canvas import WALLS, Array, Canvas, Colour, pick
from harmony_parts.scenes.captions import count
from harmony_parts.scenes.mixer import Mixer, Struck
from harmony_parts.scenes.motion import approach, swing
from harmony_parts.scenes.rhythm import Rhythm

METALS: dict[str, Colour] = {
    "golden": (0.86, 0.66, 0.22),
    "copper": (0.80, 0.45, 0.28),
    "silver": (0.70, 0.72, 0.76),
    "bronze": (0.55, 0.44, 0.22),
}
# Partials of a church bell: hum, prime, tierce, quint, nominal, and two above.
PARTIALS = (0.5, 1.0, 1.2, 1.5, 2.0, 2.5, 3.0)
LEVELS = (0.16, 0.22, 0.20, 0.10, 0.20, 0.08, 0.06)
PAUSE = 0.6  # s, the least gap: a bell rings long


@attrs.frozen
class Bell:
    """A hammer strikes a hanging bell; its size and metal vary. Gaps are 0.6 s or longer."""

    def draw(self, rng: np.random.Generator, seconds: float, rhythm: Rhythm) -> BellTake:
        """A random bell for a clip of `seconds`."""
        return BellTake(
            rng.uniform(), pick(rng, METALS), pick(rng, WALLS), _slow(rhythm).times(rng, seconds)
        )


def _outline(down: Array) -> Array:
    """Half the width of the bell at a share of its height, as a share of its lip's."""
    return 0.45 + 0.13 * down + 0.42 * down**4


def _narrow(down: Array, half: float) -> Array:
    return half * _outline(down)


def _slow(rhythm: Rhythm) -> Rhythm:
    return attrs.evolve(
        rhythm, rest=max(rhythm.rest, PAUSE), longest=max(rhythm.longest, PAUSE + 0.3)
    )


@attrs.frozen(eq=False)
class BellTake:
    """A bell of `size` 0 to 1, struck at `times` [N] s."""

    size: float
    metal: tuple[str, Colour]
    backdrop: tuple[str, Colour]
    times: np.ndarray = attrs.field(converter=np.asarray)

    def again(self, rng: np.random.Generator, seconds: float) -> BellTake:
        """The same bell at other times."""
        return attrs.evolve(self, times=_slow(Rhythm()).times(rng, seconds))

    @property
    def wall(self) -> Colour:
        """The colour of the wall."""
        return self.backdrop[1]

    @property
    def events(self) -> list[Event]:
        """The strikes."""
        return [Event(float(t), "strike", (0.5 + self._wide(), 0.6)) for t in self.times]

    @property
    def caption(self) -> str:
        """The caption of the picture."""
        return (
            f"a hammer strikes a {('small', 'large')[self.size > 0.5]} {self.metal[0]} bell, in"
            f" front of a {self.backdrop[0]} wall"
        )

    @property
    def sound_caption(self) -> str:
        """The caption of the sound."""
        return count(len(self.times), f"{('bright', 'deep')[self.size > 0.5]} bell stroke")

    def _wide(self) -> float:
        return 0.17 + 0.09 * self.size

    def picture(self, canvas: Canvas) -> None:
        """Draw all frames."""
        canvas.vignette()
        wide, t = self._wide(), canvas.middle
        tall, top = 1.9 * wide, 0.14
        canvas.paint(canvas.box(0.5, 0.06, 0.42, 0.035), (0.34, 0.24, 0.14))
        canvas.paint(canvas.box(0.5, 0.085, 0.42, 0.010), (0.22, 0.15, 0.09))
        light = canvas.flash(self.times)
        canvas.flare(self.times, 0.5, top + 0.6 * tall, 0.44, 0.85)
        # The bell turns about its crown: bodies are placed along its tilted axis.
        tilt = -0.10 * swing(t, self.times, 1.3, 0.5)
        s, c = np.sin(tilt), np.cos(tilt)
        metal = np.array(self.metal[1])
        lit = np.minimum(metal * (1 + 0.5 * np.minimum(light, 1)[..., None]), 1)

        def at(x: float, y: float) -> tuple[np.ndarray, np.ndarray]:
            return 0.5 + c * x - s * y, top + s * x + c * y

        canvas.paint(canvas.line(0.5, 0.07, *at(0.0, 0.05), 0.022), tuple(metal * 0.6))
        canvas.paint(canvas.disc(*at(0.0, tall + 0.015), 0.045), tuple(metal * 0.45))
        shape = canvas.profile(*at(0.0, 0.03), tilt, tall, lambda down: wide * _outline(down))
        canvas.paint(shape, lit * 0.80)
        for offset, half, shade in ((-0.21, 0.16 * wide, 1.0), (0.37, 0.30 * wide, 0.52)):
            gleam = canvas.profile(
                *at(offset * wide, 0.03), tilt, tall, partial(_narrow, half=half)
            )
            canvas.paint(gleam & shape, lit * shade)
        for down in (0.72, 0.93):
            half = wide * float(_outline(np.array(down)))
            canvas.paint(canvas.box(*at(0.0, 0.03 + tall * down), half, 0.012, tilt), lit * 0.6)
        near = approach(t, self.times, 0.2)
        head = 0.5 + wide + 0.04 + 0.20 * (1 - near)
        canvas.paint(
            canvas.line(head + 0.03, 0.60, head + 0.30, 0.60 + 0.10 * (1 - near), 0.022),
            (0.50, 0.34, 0.18),
        )
        canvas.paint(canvas.box(head, 0.60, 0.045, 0.075, 0.3 * (1 - near)), (0.30, 0.31, 0.34))

    def sound(self, mixer: Mixer) -> None:
        """The partials of a church bell, lower for a larger one."""
        f = 620 * 2 ** (-1.1 * self.size)
        decays = tuple(0.30 / (1 + 0.22 * k) for k in range(len(PARTIALS)))
        body = Struck(tuple(f * each for each in PARTIALS), LEVELS, decays, 0.25, 0.010)
        for event in self.events:
            mixer.strike(event.time, body, 0.95, 0.5)
