"""A mallet strikes one of several bars, which lights up and shakes; its pitch identifies it."""

from __future__ import annotations

import attrs
import numpy as np

from harmony_parts.data.scenes.canvas import FLASH, PAINTS, WALLS, Canvas, Colour, pick
from harmony_parts.data.scenes.sound import NUMBERS, Struck, count, irregular, mix

TOP, FOOT = 0.44, 0.92  # the longest bar reaches from TOP to FOOT


@attrs.frozen(eq=False)
class Bars:
    """`bars` upright bars, from low (left, long) to high; `pitch` Hz of the lowest.

    `times` [N] of the strikes in s, and the index `struck` [N] of the bar of each.
    """

    bars: int
    pitch: float
    paint: tuple[str, Colour]
    wall: tuple[str, Colour]
    times: np.ndarray
    struck: np.ndarray

    @classmethod
    def draw(cls, rng: np.random.Generator, seconds: float) -> Bars:
        """A random set of bars for a clip of `seconds`."""
        bars, pitch = int(rng.integers(3, 5)), rng.uniform(330, 480)
        times = irregular(rng, seconds)
        return cls(
            bars,
            pitch,
            pick(rng, PAINTS),
            pick(rng, WALLS),
            times,
            rng.integers(0, bars, len(times)),
        )

    def at_other_times(self, rng: np.random.Generator, seconds: float) -> Bars:
        """The same bars at other times."""
        times = irregular(rng, seconds)
        return attrs.evolve(self, times=times, struck=rng.integers(0, self.bars, len(times)))

    @property
    def events(self) -> list[tuple[float, str]]:
        """Times of the strikes, each with its bar, counted from the left (the lowest)."""
        return [
            (float(t), f"bar {int(bar) + 1}")
            for t, bar in zip(self.times, self.struck, strict=True)
        ]

    @property
    def caption(self) -> str:
        """The caption of the picture."""
        return (
            f"a mallet strikes {NUMBERS[self.bars]} {self.paint[0]} chime bars, in front of a"
            f" {self.wall[0]} wall"
        )

    @property
    def sound_caption(self) -> str:
        """The caption of the sound."""
        low, high = (self.struck < self.bars / 2).sum(), (self.struck >= self.bars / 2).sum()
        return count(
            len(self.times),
            f"{'low' if low > high else 'high' if low < high else 'clear'} chime note",
        )

    def picture(self, canvas: Canvas) -> None:
        """Draw all frames."""
        pitch = 0.9 / self.bars
        half = 0.36 * pitch
        x = 0.05 + pitch * (np.arange(self.bars) + 0.5)
        top = TOP + 0.20 * np.arange(self.bars) / (self.bars - 1)
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

    def sound(self, samples: int, rate: int, rng: np.random.Generator) -> np.ndarray:
        """float32 [samples]: modes of a free bar (1, 2.76, 5.40); bars are 0.45 octaves apart."""
        strikes = []
        for time, bar in zip(self.times, self.struck, strict=True):
            f = self.pitch * 2 ** (0.45 * int(bar))
            strikes.append(
                (
                    float(time),
                    1.0,
                    Struck(
                        (f, 2.76 * f, 5.40 * f), (0.42, 0.2, 0.1), (0.15, 0.09, 0.05), 0.28, 0.02
                    ),
                )
            )
        return mix(strikes, samples, rate, rng)
