"""A mallet strikes one of several bars, which lights up and shakes; its pitch identifies it."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from harmony_parts.av import Event
from harmony_parts.scenes.canvas import FLASH, PAINTS, WALLS, Canvas, Colour, pick
from harmony_parts.scenes.captions import NUMBERS, count
from harmony_parts.scenes.mixer import Mixer, Struck
from harmony_parts.scenes.rhythm import Rhythm

TOP, FOOT = 0.44, 0.92  # the longest bar reaches from TOP to FOOT


@attrs.frozen
class Bar:
    """A mallet strikes one of three or four bars; their colour and pitch vary."""

    def draw(self, rng: np.random.Generator, seconds: float, rhythm: Rhythm) -> BarTake:
        """A random set of bars for a clip of `seconds`."""
        bars, pitch = int(rng.integers(3, 5)), rng.uniform(330, 480)
        times = rhythm.times(rng, seconds)
        return BarTake(
            bars,
            pitch,
            pick(rng, PAINTS),
            pick(rng, WALLS),
            times,
            rng.integers(0, bars, len(times)),
        )


def _numbers(values: Any) -> np.ndarray:
    return np.asarray(values, np.int64)


@attrs.frozen(eq=False)
class BarTake:
    """`bars` upright bars, from low (left, long) to high; `pitch` Hz of the lowest.

    `times` [N] of the strikes in s, and the index `struck` [N] of the bar of each.
    """

    bars: int
    pitch: float
    paint: tuple[str, Colour]
    backdrop: tuple[str, Colour]
    times: np.ndarray = attrs.field(converter=np.asarray)
    struck: np.ndarray = attrs.field(converter=_numbers)

    @property
    def wall(self) -> Colour:
        """The colour of the wall."""
        return self.backdrop[1]

    def again(self, rng: np.random.Generator, seconds: float) -> BarTake:
        """The same bars at other times."""
        times = Rhythm().times(rng, seconds)
        return attrs.evolve(self, times=times, struck=rng.integers(0, self.bars, len(times)))

    @property
    def events(self) -> list[Event]:
        """The strikes, each with its bar, counted from the left (the lowest)."""
        x, top = self._places()
        return [
            Event(float(t), f"bar {int(bar) + 1}", (float(x[bar]), float(top[bar])))
            for t, bar in zip(self.times, self.struck, strict=True)
        ]

    @property
    def caption(self) -> str:
        """The caption of the picture."""
        return (
            f"a mallet strikes {NUMBERS[self.bars]} {self.paint[0]} chime bars, in front of a"
            f" {self.backdrop[0]} wall"
        )

    @property
    def sound_caption(self) -> str:
        """The caption of the sound."""
        low, high = (self.struck < self.bars / 2).sum(), (self.struck >= self.bars / 2).sum()
        return count(
            len(self.times),
            f"{'low' if low > high else 'high' if low < high else 'clear'} chime note",
        )

    def _places(self) -> tuple[np.ndarray, np.ndarray]:
        """The middle and the upper end of each bar, [bars] each."""
        number = np.arange(self.bars)
        return 0.05 + 0.9 / self.bars * (number + 0.5), TOP + 0.20 * number / (self.bars - 1)

    def picture(self, canvas: Canvas) -> None:
        """Draw all frames."""
        pitch = 0.9 / self.bars
        half = 0.36 * pitch
        x, top = self._places()
        for bar in range(self.bars):
            times = self.times[self.struck == bar]
            if len(times):
                canvas.glow(float(x[bar]), float(top[bar]) + 0.1, 0.42, 0.9 * canvas.flash(times))
        for bar in range(self.bars):
            times = self.times[self.struck == bar]
            tone = np.array(self.paint[1], np.float32) * (0.55 + 0.3 * bar / (self.bars - 1))
            light = (
                np.minimum(canvas.flash(times, 1.3), 1)
                if len(times)
                else np.zeros_like(canvas.start)
            )
            age = canvas.middle - times.reshape(1, 1, -1)
            shake = (0.02 * np.exp(-age / 0.12) * np.sin(2 * np.pi * 9 * age) * (age > 0)).sum(
                -1, keepdims=True
            )
            colour = tone + light[..., None].astype(np.float32) * (
                np.array(FLASH, np.float32) - tone
            )
            canvas.paint(
                canvas.box(x[bar] + shake, (top[bar] + FOOT) / 2, half, (FOOT - top[bar]) / 2),
                colour,
            )
        if not len(self.times):
            return
        # The mallet glides from bar to bar and comes down in the last 0.15 s.
        t = canvas.middle
        target_x, target_y = x[self.struck], top[self.struck]
        place = np.interp(
            t, np.stack([self.times - 0.15, self.times + 0.08], 1).ravel(), np.repeat(target_x, 2)
        )
        base = np.interp(
            t, np.stack([self.times - 0.15, self.times + 0.08], 1).ravel(), np.repeat(target_y, 2)
        )
        away = np.abs(t - self.times.reshape(1, 1, -1)).min(-1, keepdims=True)
        near = 1 - np.minimum(away / 0.15, 1)
        y = base - 0.07 - 0.22 * (1 - near * near)
        canvas.paint(canvas.box(place, y - 0.17, 0.018, 0.15), (0.55, 0.42, 0.28))
        canvas.paint(canvas.disc(place, y, 0.075), (0.80, 0.72, 0.60))

    def sound(self, mixer: Mixer) -> None:
        """Modes of a free bar (1, 2.76, 5.40); bars are 0.45 octaves apart."""
        for event, bar in zip(self.events, self.struck, strict=True):
            f = self.pitch * 2 ** (0.45 * int(bar))
            body = Struck((f, 2.76 * f, 5.40 * f), (0.42, 0.2, 0.1), (0.15, 0.09, 0.05), 0.28, 0.02)
            mixer.strike(event.time, body, x=float(self._places()[0][bar]))
