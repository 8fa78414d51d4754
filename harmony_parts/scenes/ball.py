"""A bouncing ball: free flight between contacts, each of which gives a flash and a thud."""

from __future__ import annotations

import attrs
import numpy as np

from harmony_parts.av import Event
from harmony_parts.scenes.canvas import PAINTS, WALLS, Canvas, Colour, Number, pick
from harmony_parts.scenes.captions import count
from harmony_parts.scenes.mixer import Mixer, Struck
from harmony_parts.scenes.rhythm import FIRST, LAST, REST, Rhythm

FLOORS: dict[str, Colour] = {
    "stone": (0.38, 0.38, 0.40),
    "wooden": (0.46, 0.30, 0.15),
    "grass": (0.16, 0.38, 0.12),
}
HIGHEST = 0.95  # s, the longest flight, which reaches the ceiling
GROUND = 0.82


def bounces(
    rng: np.random.Generator,
    seconds: float,
    *,
    rest: float = REST,
    flights: tuple[float, float] = (0.55, HIGHEST),
    restitution: tuple[float, float] = (0.6, 0.97),
) -> np.ndarray:
    """Contact times [N], the first before 0 and the last after the end: all times are in a flight.

    A flight lasts a random share (the `restitution`, on uneven ground) of the one before. If it
    would be shorter than `rest`, the ball is kicked again, to one of `flights` seconds.
    """
    end = seconds - LAST
    while True:
        flight = rng.uniform(*flights)
        times = [rng.uniform(FIRST, max(FIRST, min(flight, end)))]
        before = times[0] - flight
        while times[-1] < seconds:
            flight *= rng.uniform(*restitution)
            if flight < rest:
                flight = rng.uniform(*flights)
            times.append(times[-1] + flight)
        # a contact in the last moments would be cut
        if end <= FIRST or not any(end <= time < seconds for time in times):
            return np.array([before, *times])


@attrs.frozen
class Ball:
    """A ball bounces on stone, wood or grass; its flights, not the rhythm, set the gaps.

    A silent rhythm leaves it on the floor.
    """

    def draw(self, rng: np.random.Generator, seconds: float, rhythm: Rhythm) -> BallTake:
        """A random ball for a clip of `seconds`."""
        x, drift = rng.uniform(0.32, 0.68), rng.uniform(-0.2, 0.2)
        return BallTake(
            rng.uniform(),
            pick(rng, PAINTS),
            pick(rng, WALLS),
            pick(rng, FLOORS),
            x,
            drift,
            np.zeros(0) if rhythm.silent else bounces(rng, seconds),
            seconds,
        )


@attrs.frozen(eq=False)
class BallTake:
    """A ball: `size` 0 to 1, colours, `x` in mid-clip, `drift` over the clip, contact times.

    See `bounces` for the contact times.
    """

    size: float
    paint: tuple[str, Colour]
    backdrop: tuple[str, Colour]
    floor: tuple[str, Colour]
    x: float
    drift: float
    contacts: np.ndarray = attrs.field(converter=np.asarray)
    seconds: float

    @property
    def wall(self) -> Colour:
        """The colour of the wall."""
        return self.backdrop[1]

    def again(self, rng: np.random.Generator, seconds: float) -> BallTake:
        """The same ball at other times."""
        return attrs.evolve(self, contacts=bounces(rng, seconds), seconds=seconds)

    def at(self, t: np.ndarray) -> np.ndarray:
        """The horizontal place at the times `t` (s)."""
        return self.x + self.drift * (t / self.seconds - 0.5)

    @property
    def events(self) -> list[Event]:
        """The contacts with the floor."""
        return [
            Event(float(t), "bounce", (float(self.at(t)), GROUND))
            for t in self.contacts
            if 0 <= t < self.seconds
        ]

    @property
    def caption(self) -> str:
        """The caption of the picture."""
        size = ("small", "medium-sized", "large")[int(self.size * 2.999)]
        ground = "on grass" if self.floor[0] == "grass" else f"on a {self.floor[0]} floor"
        does = "bounces" if self.events else "lies"
        return (
            f"a {size} {self.paint[0]} ball {does} {ground}, in front of a {self.backdrop[0]} wall"
        )

    @property
    def sound_caption(self) -> str:
        """The caption of the sound."""
        return count(len(self.events), f"{('bright', 'dull', 'deep')[int(self.size * 2.999)]} thud")

    def hits(self) -> tuple[np.ndarray, np.ndarray]:
        """Times [N] of the contacts, and their strength [N], which grows with the flight before."""
        return self.contacts[1:], 0.7 + 0.3 * np.diff(self.contacts) / HIGHEST

    def picture(self, canvas: Canvas) -> None:
        """Draw all frames."""
        radius = 0.10 + 0.06 * self.size
        canvas.paint(canvas.box(0.5, GROUND + 5, 50, 5), self.floor[1])
        t = canvas.middle
        if len(self.contacts) < 2:
            self._ball(canvas, radius, np.zeros_like(t), np.ones_like(t), 1.0)
            return
        i = np.clip(np.searchsorted(self.contacts, t, side="right") - 1, 0, len(self.contacts) - 2)
        start, end = self.contacts[i], self.contacts[i + 1]
        # height = g/2 (t - start)(end - t), with g such that the longest flight peaks at `room`
        room = GROUND - 2 * radius - 0.03
        height = 4 * room / HIGHEST**2 * np.maximum((t - start) * (end - t), 0)
        nearest = np.minimum(np.abs(t - start), np.abs(end - t))
        squash = 1 - 0.22 * np.exp(-nearest / 0.03)
        times, strength = self.hits()
        canvas.glow(self.at(t), GROUND - 0.04, 0.42, 0.95 * canvas.flash(times, strength))
        self._ball(canvas, radius, height, squash, np.clip(1 - height / room, 0.2, 1))

    def _ball(
        self, canvas: Canvas, radius: float, height: Number, squash: Number, shade: Number
    ) -> None:
        """The ball and its shadow, which is darker the nearer the ball is to the ground."""
        x, y = self.at(canvas.middle), GROUND - height - radius * squash
        canvas.paint(
            canvas.disc(x, GROUND + 0.02, radius * 1.1, radius * 0.25),
            (0.02, 0.02, 0.02),
            0.5 * shade,
        )
        canvas.paint(canvas.disc(x, y, radius / squash, radius * squash), self.paint[1])
        canvas.paint(
            canvas.disc(x - 0.35 * radius, y - 0.35 * radius, 0.28 * radius), (1.0, 1.0, 1.0), 0.45
        )

    def sound(self, mixer: Mixer) -> None:
        """A bigger ball is lower and rings longer."""
        f = 240 * 2 ** (-1.3 * self.size)
        decay = 0.07 + 0.05 * self.size
        body = Struck(
            (f, 1.59 * f, 2.14 * f, 3.6 * f),
            (0.42, 0.2, 0.15, 0.1),
            (decay, 0.8 * decay, 0.6 * decay, 0.4 * decay),
            0.3,
            0.035,
        )
        for time, strength in zip(*self.hits(), strict=True):
            mixer.strike(float(time), body, float(strength), float(self.at(time)))
