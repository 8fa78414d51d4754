"""Two sticks play a drum, the left and the right one; the skin lights up."""

from __future__ import annotations

import attrs
import numpy as np

from harmony_parts.av import Event
from harmony_parts.scenes.canvas import PAINTS, WALLS, Canvas, Colour, pick
from harmony_parts.scenes.captions import count
from harmony_parts.scenes.mixer import Mixer, Struck
from harmony_parts.scenes.motion import approach, swing
from harmony_parts.scenes.rhythm import Rhythm

SKIN = 0.60  # height of the skin's middle


@attrs.frozen
class Drum:
    """Two sticks play a drum; its size, tension and colour vary."""

    def draw(self, rng: np.random.Generator, seconds: float, rhythm: Rhythm) -> DrumTake:
        """A random drum for a clip of `seconds`."""
        size, rattle = rng.uniform(), bool(rng.integers(2))
        times = rhythm.times(rng, seconds)
        return DrumTake(
            size, rattle, pick(rng, PAINTS), pick(rng, WALLS), times, rng.integers(0, 2, len(times))
        )


@attrs.frozen(eq=False)
class DrumTake:
    """A drum of `size` 0 to 1, a snare drum if it can `rattle`; strikes at `times` [N] s.

    `hands` [N] are 0 for the left stick and 1 for the right.
    """

    size: float
    rattle: bool
    paint: tuple[str, Colour]
    backdrop: tuple[str, Colour]
    times: np.ndarray = attrs.field(converter=np.asarray)
    hands: np.ndarray = attrs.field(converter=np.asarray)

    def again(self, rng: np.random.Generator, seconds: float) -> DrumTake:
        """The same drum at other times."""
        times = Rhythm().times(rng, seconds)
        return attrs.evolve(self, times=times, hands=rng.integers(0, 2, len(times)))

    @property
    def wall(self) -> Colour:
        """The colour of the wall."""
        return self.backdrop[1]

    @property
    def events(self) -> list[Event]:
        """The strikes, each with its stick."""
        return [
            Event(
                float(t), ("left stick", "right stick")[int(hand)], (0.38 + 0.24 * int(hand), SKIN)
            )
            for t, hand in zip(self.times, self.hands, strict=True)
        ]

    @property
    def caption(self) -> str:
        """The caption of the picture."""
        kind = "snare drum" if self.rattle else "drum"
        return (
            f"two sticks play a {('small', 'large')[self.size > 0.5]} {self.paint[0]} {kind}, in"
            f" front of a {self.backdrop[0]} wall"
        )

    @property
    def sound_caption(self) -> str:
        """The caption of the sound."""
        kind = "rattling snare" if self.rattle else ("high", "deep")[self.size > 0.5]
        return count(len(self.times), f"{kind} drum beat")

    def picture(self, canvas: Canvas) -> None:
        """Draw all frames."""
        canvas.vignette()
        wide, t = 0.26 + 0.10 * self.size, canvas.middle
        colour, flat = np.array(self.paint[1]), 0.30 * (0.26 + 0.10 * self.size)
        foot = SKIN + 0.22 + 0.06 * self.size
        canvas.paint(
            canvas.disc(0.5, foot + 0.03, wide * 1.15, flat * 0.9), (0.02, 0.02, 0.02), 0.5
        )
        canvas.paint(canvas.disc(0.5, foot, wide, flat), tuple(colour * 0.75))
        across = np.clip((canvas.x - 0.5) / wide, -1, 1)
        shaded = colour * (0.55 + 0.5 * np.sqrt(1 - across * across) - 0.2 * across)[..., None]
        side = canvas.box(0.5, (SKIN + foot) / 2, wide, (foot - SKIN) / 2)
        canvas.paint(side, np.minimum(shaded, 1).astype(np.float32)[:, :, side.columns])
        for k in range(7):
            x = 0.5 + wide * np.sin(np.pi * (k - 3) / 7)
            canvas.paint(
                canvas.line(
                    x, SKIN + 0.02, x, foot + 0.6 * flat * np.cos(np.pi * (k - 3) / 7), 0.007
                ),
                (0.85, 0.8, 0.7),
                0.8,
            )
        canvas.paint(canvas.disc(0.5, SKIN, wide * 1.04, flat * 1.08), (0.80, 0.76, 0.66))
        light = canvas.flash(self.times)
        canvas.flare(self.times, 0.5, SKIN - 0.05, 0.42, 0.85)
        skin = np.array((0.72, 0.69, 0.62)) + 0.28 * np.minimum(light, 1)[..., None]
        shake = 0.010 * swing(t, self.times, 9, 0.12)
        canvas.paint(canvas.disc(0.5, SKIN + shake, wide * 0.94, flat * 0.9), skin)
        for hand, sign in ((0, -1), (1, 1)):
            near = approach(t, self.times[self.hands == hand], 0.17)
            x, y = 0.5 + 0.12 * sign, SKIN - 0.02 - 0.30 * (1 - near)
            far_x, far_y = x + 0.30 * sign, y - 0.10 + 0.10 * near
            canvas.paint(canvas.line(x, y, far_x, far_y, 0.020), (0.62, 0.44, 0.24))
            canvas.paint(canvas.disc(x, y, 0.040), (0.88, 0.78, 0.60))

    def sound(self, mixer: Mixer) -> None:
        """Modes of a round membrane; a snare adds noise."""
        f = 210 * 2 ** (-1.2 * self.size)
        ratios, decay = (1, 1.59, 2.14, 2.30, 2.65, 2.92), 0.10 + 0.04 * self.size
        body = Struck(
            tuple(f * ratio for ratio in ratios),
            (0.5, 0.22, 0.14, 0.10, 0.08, 0.06),
            tuple(decay / (1 + 0.5 * k) for k in range(6)),
            0.5 if self.rattle else 0.25,
            0.06 if self.rattle else 0.012,
        )
        for time, hand in zip(self.times, self.hands, strict=True):
            mixer.strike(float(time), body, 0.75, 0.38 + 0.24 * int(hand))
