"""Notes fall onto a keyboard; the keys they hit light up and play a melody."""

from __future__ import annotations

import attrs
import numpy as np

from harmony_parts.av import Event
from harmony_parts.scenes.canvas import FLASH, WALLS, Canvas, Colour, pick
from harmony_parts.scenes.captions import count
from harmony_parts.scenes.mixer import Mixer
from harmony_parts.scenes.rhythm import Rhythm

SCALE = (0, 2, 4, 7, 9, 12, 14)  # semitones: a pentatonic scale, which can't sound wrong
HUES: tuple[Colour, ...] = (
    (0.90, 0.25, 0.22),
    (0.95, 0.55, 0.15),
    (0.92, 0.82, 0.20),
    (0.35, 0.78, 0.35),
    (0.22, 0.65, 0.85),
    (0.40, 0.42, 0.90),
    (0.72, 0.40, 0.85),
)
KEYS, FALL = 0.74, 0.7  # height of the keys' upper edge; s, duration of a fall
INSTRUMENTS = {"music box": (0.10, 3.0, 0.30), "electric piano": (0.16, 1.0, 0.9)}


@attrs.frozen
class Melody:
    """A melody of random notes on a music box or an electric piano."""

    def draw(self, rng: np.random.Generator, seconds: float, rhythm: Rhythm) -> MelodyTake:
        """A random melody for a clip of `seconds`; most of its steps are small."""
        instruments = list(INSTRUMENTS)
        instrument, pitch = instruments[rng.integers(2)], rng.uniform(240, 330)
        backdrop = pick(rng, WALLS)
        times = attrs.evolve(rhythm, longest=max(rhythm.rest, 0.7 * rhythm.longest)).times(
            rng, seconds
        )
        return MelodyTake(instrument, pitch, backdrop, times, _notes(rng, len(times)))


def _notes(rng: np.random.Generator, number: int) -> np.ndarray:
    """Keys [number]: a walk that keeps within the scale."""
    notes, note = [], int(rng.integers(len(SCALE)))
    for _ in range(number):
        notes.append(note)
        note = int(np.clip(note + rng.choice((-2, -1, 1, 2)), 0, len(SCALE) - 1))
    return np.array(notes, np.int64)


@attrs.frozen(eq=False)
class MelodyTake:
    """An `instrument` with `pitch` Hz of the lowest key; `notes` [N] (keys) at `times` [N] s."""

    instrument: str
    pitch: float
    backdrop: tuple[str, Colour]
    times: np.ndarray = attrs.field(converter=np.asarray)
    notes: np.ndarray = attrs.field(converter=np.asarray)

    def again(self, rng: np.random.Generator, seconds: float) -> MelodyTake:
        """The same instrument with another melody."""
        times = Rhythm(longest=0.77).times(rng, seconds)
        return attrs.evolve(self, times=times, notes=_notes(rng, len(times)))

    @property
    def wall(self) -> Colour:
        """The colour of the wall."""
        return self.backdrop[1]

    def places(self) -> np.ndarray:
        """The middle of each key, [keys]."""
        return 0.5 + 0.13 * (np.arange(len(SCALE)) - 3)

    @property
    def events(self) -> list[Event]:
        """The notes, each with its key, counted from the left (the lowest)."""
        x = self.places()
        return [
            Event(float(t), f"key {int(k) + 1}", (float(x[int(k)]), KEYS))
            for t, k in zip(self.times, self.notes, strict=True)
        ]

    @property
    def caption(self) -> str:
        """The caption of the picture."""
        return (
            f"{count(len(self.times), 'coloured note')} fall onto a keyboard, in front of a"
            f" {self.backdrop[0]} wall"
        )

    @property
    def sound_caption(self) -> str:
        """The caption of the sound."""
        if len(self.notes) < 2:
            return f"{count(len(self.notes), 'note')} of a {self.instrument}"
        rises = int(self.notes[-1]) - int(self.notes[0])
        way = "rising" if rises > 1 else "falling" if rises < -1 else "winding"
        return f"a {way} melody of {count(len(self.notes), 'note')} on a {self.instrument}"

    def picture(self, canvas: Canvas) -> None:
        """Draw all frames."""
        x = self.places()
        canvas.vignette()
        for k in range(len(SCALE)):  # lanes
            canvas.paint(canvas.box(float(x[k]), KEYS / 2, 0.058, KEYS / 2), HUES[k], 0.07)
        canvas.flare(self.times, x[self.notes], KEYS - 0.06, 0.40, 0.85)

        for time, k in zip(self.times, self.notes, strict=True):
            part = canvas.during(float(time) - FALL, float(time) + 0.04)
            if part is None:
                continue
            y = KEYS - 0.05 - (time - part.middle) / FALL * (KEYS + 0.05)
            here = float(x[int(k)])
            part.paint(part.line(here, y - 0.05, here, y, 0.045), HUES[int(k)])
            part.paint(
                part.line(here - 0.015, y - 0.055, here - 0.015, y - 0.01, 0.012),
                (1.0, 1.0, 1.0),
                0.5,
            )
        canvas.paint(canvas.box(0.5, KEYS + 0.15, 0.48, 0.16), (0.07, 0.06, 0.07))
        for k in range(len(SCALE)):
            light, key = np.zeros((1, 1, 1)), np.array((0.84, 0.83, 0.80))
            if len(times := self.times[self.notes == k]):
                light = np.minimum(canvas.flash(times, 1.2), 1)
            colour = key + light[..., None] * (np.array(FLASH) - key)

            canvas.paint(canvas.box(float(x[k]), KEYS + 0.14 + 0.015 * light, 0.058, 0.14), colour)
            canvas.paint(
                canvas.box(float(x[k]), KEYS + 0.23 + 0.015 * light, 0.045, 0.025), HUES[k]
            )

    def sound(self, mixer: Mixer) -> None:
        """Frequency modulation: exp(-t / d) sin(2 pi f t + i exp(-3 t / d) sin(2 pi r f t))."""
        fade, ratio, index = INSTRUMENTS[self.instrument]
        for event, k in zip(self.events, self.notes, strict=True):
            f = self.pitch * 2 ** (SCALE[int(k)] / 12)
            age = mixer.ages(event.time, 7 * fade)
            bend = index * np.exp(-3 * age / fade) * np.sin(2 * np.pi * ratio * f * age)
            tone = 0.7 * np.exp(-age / fade) * np.sin(2 * np.pi * f * age + bend)
            assert event.place is not None
            mixer.add(
                event.time, (tone * np.minimum(age * 1000, 1)).astype(np.float32), event.place[0]
            )
