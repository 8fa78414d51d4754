"""A plectrum plucks one of several strings, which vibrates; its pitch identifies it."""

from __future__ import annotations

import attrs
import numpy as np

from harmony_parts.av import Event
from harmony_parts.scenes.canvas import PAINTS, WALLS, Canvas, Colour, pick
from harmony_parts.scenes.captions import NUMBERS, article, count
from harmony_parts.scenes.mixer import Mixer
from harmony_parts.scenes.motion import approach, decay, glide
from harmony_parts.scenes.rhythm import Rhythm

INNER_RATE = 32000  # Hz, of the string's delay line, whatever the rate of the mix
RING = 1.2  # s


def karplus_strong(pitch: float, fade: float, rng: np.random.Generator) -> np.ndarray:
    """A plucked string [N] of about `pitch` Hz at INNER_RATE, RING seconds long, 60 dB down after
    `fade` seconds.

    y[n] = g (y[n - N] + y[n - N - 1]) / 2 from a period of noise, computed a period at a time.
    Source: Karplus and Strong 1983, doi:10.2307/3680062.
    """
    period = round(INNER_RATE / pitch - 0.5)
    gain = 10 ** (-3 * period / INNER_RATE / fade)
    noise = rng.uniform(-1, 1, period + 2)
    line = (noise[:-1] + noise[1:]) / 2  # [period + 1]: the sample before, then a period
    line -= line.mean()
    periods = int(RING * INNER_RATE / period)
    sound = np.empty((periods, period))
    for each in sound:
        each[:] = line[1:]
        line = np.append(line[-1], gain * (line[1:] + line[:-1]) / 2)
    return sound.ravel()


@attrs.frozen
class String:
    """A plectrum plucks one of three or four strings; their colour and pitch vary."""

    def draw(self, rng: np.random.Generator, seconds: float, rhythm: Rhythm) -> StringTake:
        """Random strings for a clip of `seconds`."""
        strings, pitch = int(rng.integers(3, 5)), rng.uniform(130, 200)
        times = rhythm.times(rng, seconds)
        return StringTake(
            strings,
            pitch,
            pick(rng, PAINTS),
            pick(rng, WALLS),
            times,
            rng.integers(0, strings, len(times)),
        )


@attrs.frozen(eq=False)
class StringTake:
    """`strings` level strings from high (above) to low, `pitch` Hz of the lowest.

    `times` [N] of the plucks in s, and the number `plucked` [N] of the string of each, from above.
    """

    strings: int
    pitch: float
    paint: tuple[str, Colour]
    backdrop: tuple[str, Colour]
    times: np.ndarray = attrs.field(converter=np.asarray)
    plucked: np.ndarray = attrs.field(converter=np.asarray)

    def again(self, rng: np.random.Generator, seconds: float) -> StringTake:
        """The same strings at other times."""
        times = Rhythm().times(rng, seconds)
        return attrs.evolve(self, times=times, plucked=rng.integers(0, self.strings, len(times)))

    @property
    def wall(self) -> Colour:
        """The colour of the wall."""
        return self.backdrop[1]

    def heights(self) -> np.ndarray:
        """The place of each string from above to below, [strings]."""
        return 0.5 + 0.13 * (np.arange(self.strings) - (self.strings - 1) / 2)

    @property
    def events(self) -> list[Event]:
        """The plucks, each with its string, counted from above (the highest)."""
        y = self.heights()
        return [
            Event(float(t), f"string {int(k) + 1}", (PLUCK, float(y[int(k)])))
            for t, k in zip(self.times, self.plucked, strict=True)
        ]

    @property
    def caption(self) -> str:
        """The caption of the picture."""
        return (
            f"a plectrum plucks the {NUMBERS[self.strings]} strings of {article(self.paint[0])}"
            f" zither, in front of a {self.backdrop[0]} wall"
        )

    @property
    def sound_caption(self) -> str:
        """The caption of the sound."""
        return count(len(self.times), "plucked string note")

    def picture(self, canvas: Canvas) -> None:
        """Draw all frames."""
        canvas.vignette()
        y, t = self.heights(), canvas.middle
        half = 0.13 * self.strings / 2 + 0.05
        dark = np.array(self.paint[1]) * 0.35
        canvas.paint(canvas.box(0.5, 0.5, 0.47, half + 0.03), tuple(dark * 0.6))
        canvas.paint(canvas.box(0.5, 0.5, 0.45, half), self.paint[1], 0.75)
        canvas.paint(canvas.disc(0.36, 0.5, 0.15, 0.15), tuple(dark))
        for bridge in (0.09, 0.91):
            canvas.paint(canvas.box(bridge, 0.5, 0.015, half - 0.02), (0.90, 0.86, 0.75))
        canvas.flare(self.times, PLUCK, y[self.plucked.astype(int)], 0.34, 0.9)

        for k in range(self.strings):
            times = self.times[self.plucked == k]
            thick = 0.009 + 0.003 * k
            if len(times):  # faster than the exposure: a blurred spindle
                width = 0.05 * np.minimum(decay(t, times, 0.18), 1.2)
                canvas.paint(
                    canvas.disc(0.5, float(y[k]), 0.41, thick + width)
                    & canvas.box(0.5, float(y[k]), 0.41, 0.2),
                    (0.98, 0.94, 0.80),
                    np.clip(thick / (thick + 0.35 * width), 0.25, 1),
                )
            else:
                canvas.paint(canvas.box(0.5, float(y[k]), 0.41, thick), (0.98, 0.94, 0.80))
        if len(self.times):
            place = glide(t, self.times, y[self.plucked.astype(int)])
            lift = 0.16 * (1 - approach(t, self.times, 0.15))
            for half_width, colour in ((0.045, (0.10, 0.10, 0.12)), (0.033, (0.95, 0.35, 0.22))):
                canvas.paint(
                    canvas.line(
                        PLUCK + 0.06 + lift,
                        place - 0.09,
                        PLUCK + 0.01 + lift,
                        place - 0.02,
                        half_width,
                    ),
                    colour,
                )

    def sound(self, mixer: Mixer) -> None:
        """Strings are a fourth (5 semitones) apart."""
        for time, k in zip(self.times, self.plucked, strict=True):
            pitch = self.pitch * 2 ** (5 / 12 * (self.strings - 1 - int(k)))
            string = karplus_strong(pitch, 0.55, mixer.rng)
            age = mixer.ages(float(time), RING - 0.01)
            tone = np.interp(age * INNER_RATE, np.arange(len(string)), string)
            mixer.add(
                float(time), 0.75 * (tone * np.minimum(age * 1000, 1)).astype(np.float32), PLUCK
            )


PLUCK = 0.66  # where the plectrum plucks
