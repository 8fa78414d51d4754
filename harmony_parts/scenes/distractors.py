"""What is seen and isn't heard, and what is heard and isn't seen."""

from __future__ import annotations

import attrs
import numpy as np

from harmony_parts.scenes.canvas import PAINTS, Canvas, Colour, pick
from harmony_parts.scenes.captions import article
from harmony_parts.scenes.mixer import Mixer

MOVERS = ("butterfly", "balloon", "leaf", "kite")
DOES = {"butterfly": "flutters", "balloon": "floats", "leaf": "falls", "kite": "sways"}
OUTSIDE = ("wind", "a humming machine", "crickets")
LEVEL = 0.03  # of the sounds from outside: 25 dB and more below events


@attrs.frozen
class Mover:
    """A silent thing of `kind` that moves across the picture.

    It is at (x, y) in mid-clip and moves by (dx, dy) a second, `phase` 0 to 1 into its own
    movement; `size` is its radius.
    """

    kind: str
    paint: tuple[str, Colour]
    x: float
    y: float
    dx: float
    dy: float
    size: float
    phase: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Mover:
        """A random one."""
        kind = MOVERS[rng.integers(len(MOVERS))]
        dx, dy = rng.uniform(0.1, 0.35) * rng.choice((-1.0, 1.0)), rng.uniform(-0.08, 0.08)
        dy += {"balloon": -0.2, "leaf": 0.25}.get(kind, 0.0)
        return cls(
            kind,
            pick(rng, PAINTS),
            rng.uniform(0.15, 0.85),
            rng.uniform(0.1, 0.55),
            dx * (0.4 if kind in ("balloon", "leaf") else 1.0),
            dy,
            rng.uniform(0.045, 0.07),
            rng.uniform(),
        )

    @property
    def caption(self) -> str:
        """What it does."""
        return f"{article(self.paint[0])} {self.kind} {DOES[self.kind]} past"

    def picture(self, canvas: Canvas) -> None:
        """Draw all frames; its area hardly changes, so the picture's brightness doesn't jump."""
        t = canvas.middle - float(canvas.end[-1, 0, 0]) / 2
        wave = 2 * np.pi * (self.phase + t)
        x = self.x + self.dx * t + 0.03 * np.sin(1.3 * wave)
        y = self.y + self.dy * t + 0.03 * np.sin(1.7 * wave)
        colour, size = self.paint[1], self.size
        dark: Colour = tuple(0.55 * np.array(colour))
        if self.kind == "butterfly":
            spread = 0.55 + 0.35 * np.sin(4 * wave)
            for side in (-1, 1):
                wing = x + side * size * (0.15 + spread / 2)
                canvas.paint(
                    canvas.disc(wing, y - 0.3 * size, size * spread * 0.7, 0.75 * size), colour
                )
                canvas.paint(
                    canvas.disc(wing, y + 0.5 * size, size * spread * 0.5, 0.45 * size), dark
                )
            canvas.paint(canvas.disc(x, y, 0.14 * size, 0.8 * size), (0.08, 0.06, 0.06))
        elif self.kind == "balloon":
            canvas.paint(
                canvas.line(x, y + size, x + 0.02 * np.sin(wave), y + 3 * size, 0.006),
                (0.8, 0.8, 0.8),
                0.7,
            )
            canvas.sphere(x, y, 0.9 * size, 1.1 * size, colour, 0.5)
        elif self.kind == "leaf":
            turn = 2.2 * np.sin(1.1 * wave)
            along, up = size * np.cos(turn), size * np.sin(turn)
            canvas.paint(canvas.line(x - along, y - up, x + along, y + up, 0.42 * size), colour)
            canvas.paint(canvas.line(x - along, y - up, x + along, y + up, 0.006), dark)
        else:
            turn = np.pi / 4 + 0.3 * np.sin(1.9 * wave)
            for k in range(3):
                canvas.paint(
                    canvas.disc(
                        x - 0.5 * size + 0.02 * np.sin(2 * wave - k),
                        y + (1.5 + 0.7 * k) * size,
                        0.16 * size,
                    ),
                    dark,
                )
            canvas.paint(canvas.box(x, y, 0.8 * size, 0.8 * size, turn), colour)
            canvas.paint(canvas.box(x, y, 0.3 * size, 0.3 * size, turn), dark)


@attrs.frozen
class Outside:
    """A soft sound from outside the picture: `kind`, its `pitch` 0 to 1, and its side `x`."""

    kind: str
    pitch: float
    x: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Outside:
        """A random one."""
        return cls(OUTSIDE[rng.integers(len(OUTSIDE))], rng.uniform(), float(rng.integers(2)))

    @property
    def caption(self) -> str:
        """What is heard."""
        return f"{self.kind} outside the picture"

    def sound(self, mixer: Mixer) -> None:
        """Add it, from the beginning to the end of the mix."""
        t = np.arange(mixer.samples) / mixer.rate
        if self.kind == "wind":
            # Noise at 4 kHz whatever the rate, so that its spectrum is the same: sums of it over
            # 2.5 ms, that swell slowly.
            grain = mixer.rng.normal(size=int(len(t) / mixer.rate * 4000) + 12)
            soft = np.convolve(grain, np.hanning(12)[1:-1], mode="valid") / 2.5
            swell = 0.6 + 0.4 * np.sin(2 * np.pi * (0.4 * t + self.pitch))
            wave = np.interp(t * 4000, np.arange(len(soft)), soft) * swell
        elif self.kind == "crickets":
            f = min(2600 + 900 * self.pitch, 0.45 * mixer.rate)
            wave = np.sin(2 * np.pi * f * t) * (0.5 - 0.5 * np.cos(2 * np.pi * 7 * t))
        else:
            f = 70 + 60 * self.pitch
            wave = np.zeros_like(t)
            for k in (1, 2, 3, 5):
                wave += np.sin(2 * np.pi * f * k * t + k) / k / 1.5
        fade = np.minimum(1, np.minimum(t, t[-1] - t) / 0.05 + 1e-3) if len(t) else t
        mixer.add(0.0, (LEVEL * wave * fade).astype(np.float32), self.x)
