"""Drops hit a window at night: each makes a ring of light and a plip, and runs down."""

from __future__ import annotations

import attrs
import numpy as np

from harmony_parts.av import Event
from harmony_parts.scenes.canvas import Canvas, Colour
from harmony_parts.scenes.captions import count
from harmony_parts.scenes.mixer import Mixer
from harmony_parts.scenes.rhythm import Rhythm

NIGHTS: dict[str, Colour] = {
    "blue": (0.05, 0.08, 0.17),
    "green": (0.04, 0.11, 0.10),
    "violet": (0.10, 0.06, 0.16),
}
LAMPS: tuple[Colour, ...] = (
    (1.0, 0.72, 0.30),
    (0.95, 0.35, 0.25),
    (0.45, 0.75, 1.0),
    (0.95, 0.9, 0.7),
    (0.4, 0.9, 0.6),
)


@attrs.frozen
class Rain:
    """Drops hit a window at night; the lamps behind it and the drops vary."""

    def draw(self, rng: np.random.Generator, seconds: float, rhythm: Rhythm) -> RainTake:
        """A random window for a clip of `seconds`."""
        nights, number = list(NIGHTS), int(rng.integers(5, 9))
        lamps = tuple(
            (
                float(rng.uniform()),
                float(rng.uniform(0.35, 0.95)),
                float(rng.uniform(0.04, 0.1)),
                int(rng.integers(5)),
            )
            for _ in range(number)
        )
        night = nights[rng.integers(len(nights))]
        return _with_drops(
            RainTake(night, lamps, np.zeros(0), np.zeros((0, 3))), rhythm.times(rng, seconds), rng
        )


def _with_drops(take: RainTake, times: np.ndarray, rng: np.random.Generator) -> RainTake:
    drops = rng.uniform((0.12, 0.12, 0.0), (0.88, 0.72, 1.0), (len(times), 3))
    return attrs.evolve(take, times=times, drops=drops)


@attrs.frozen(eq=False)
class RainTake:
    """A window in a `night` of that colour, with lamps (x, y, radius, colour number).

    Drops hit it at `times` [N] s; `drops` [N, 3] are their x, y and size, 0 to 1.
    """

    night: str
    lamps: tuple[tuple[float, float, float, int], ...]
    times: np.ndarray = attrs.field(converter=np.asarray)
    drops: np.ndarray = attrs.field(converter=np.asarray)

    def again(self, rng: np.random.Generator, seconds: float) -> RainTake:
        """The same window under other drops."""
        return _with_drops(self, Rhythm().times(rng, seconds), rng)

    @property
    def wall(self) -> Colour:
        """The colour of the night."""
        return NIGHTS[self.night]

    @property
    def events(self) -> list[Event]:
        """The drops."""
        return [
            Event(float(t), "drop", (float(x), float(y)))
            for t, (x, y, _) in zip(self.times, self.drops, strict=True)
        ]

    @property
    def caption(self) -> str:
        """The caption of the picture."""
        lamps = f"{len(self.lamps)} lamps in a {self.night} night"
        return f"rain drops on a window, with {lamps} behind it"

    @property
    def sound_caption(self) -> str:
        """The caption of the sound."""
        return count(len(self.times), "plip") + " of rain drops on glass"

    def picture(self, canvas: Canvas) -> None:
        """Draw all frames."""
        canvas.shade(np.float32(0.7) + np.float32(0.7) * canvas.y + 0 * canvas.x)
        for x, y, radius, colour in self.lamps:  # out of focus: even discs with a brighter rim
            disc = canvas.disc(x, y, radius)
            canvas.paint(disc, LAMPS[colour], 0.45)
            canvas.paint(disc.outline(0.02), LAMPS[colour], 0.25)
        x, y, _ = self.drops.T
        canvas.flare(self.times, x, y, 0.42, 0.9, colour=(0.75, 0.88, 1.0))
        for time, (x, y, size) in zip(self.times, self.drops, strict=True):
            part = canvas.during(float(time) - 0.02, np.inf)
            if part is None:
                continue
            age = part.middle - time
            began = age > 0

            ring = 0.05 + (0.35 + 0.2 * size) * np.maximum(age, 0) ** 0.7
            fade = np.where(began, np.exp(-np.maximum(age, 0) / 0.12), 0)
            soon = part.during(float(time), float(time) + 0.5)
            if soon is not None:
                n = len(soon.start)
                soon.paint(soon.disc(x, y, ring[:n]).outline(0.022), (0.85, 0.93, 1.0), fade[:n])
            # it hangs, then runs down ever faster
            down = y + 0.9 * np.maximum(age - 0.25, 0) ** 1.6
            radius = 0.030 + 0.022 * size
            shown = began.astype(np.float64)
            part.paint(
                part.line(x, np.maximum(down - 0.12, y), x, down, 0.35 * radius),
                (0.62, 0.74, 0.85),
                0.35 * shown,
            )
            part.paint(
                part.disc(x, down, radius * 0.9, radius * 1.15), (0.70, 0.80, 0.90), 0.85 * shown
            )
            part.paint(
                part.disc(x - 0.3 * radius, down - 0.35 * radius, 0.35 * radius),
                (1.0, 1.0, 1.0),
                0.9 * shown,
            )
        frame = (0.16, 0.12, 0.10)
        for each in (0.02, 0.98):
            canvas.paint(canvas.box(each, 0.5, 0.03, 5), frame)
            canvas.paint(canvas.box(0.5, each, 5, 0.03), frame)
        canvas.paint(canvas.box(0.5, 0.955, 5, 0.008), (0.30, 0.24, 0.20))

    def sound(self, mixer: Mixer) -> None:
        """A drop's bubble: exp(-t / d) sin(2 pi (f t + s t^2 / 2)), with a rising pitch."""
        for time, (x, _, size) in zip(self.times, self.drops, strict=True):
            f, fade = 1500 * 2 ** (-1.2 * size), 0.035 + 0.03 * size
            age = mixer.ages(float(time), 7 * fade)
            phase = 2 * np.pi * (f * age + 2.2 * f * age * age)
            tick = 0.35 * np.exp(-age / 0.006) * mixer.rng.uniform(-1, 1, len(age))
            tone = 0.6 * np.exp(-age / fade) * np.sin(phase)
            mixer.add(
                float(time),
                ((tone + tick) * np.minimum(age * 2000, 1)).astype(np.float32),
                float(x),
            )
