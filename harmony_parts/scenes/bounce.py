"""A ball of rubber, wood, steel or glass bounces; what it is made of can be seen and heard."""

from __future__ import annotations

import attrs
import numpy as np

from harmony_parts.av import Event
from harmony_parts.plugin import knob
from harmony_parts.scenes.ball import FLOORS, GROUND, HIGHEST, bounces
from harmony_parts.scenes.canvas import PAINTS, WALLS, Canvas, Colour, Number, pick
from harmony_parts.scenes.captions import count
from harmony_parts.scenes.mixer import Mixer, Struck
from harmony_parts.scenes.rhythm import Rhythm


@attrs.frozen
class Material:
    """What a ball is made of: colour (None: any), shine 0 to 1, restitution, and its sound.

    `pitch` in Hz is that of a middle-sized ball, `decay` in s that of its lowest mode; `modes` are
    factors on the pitch, `noise` is the level of the attack.
    """

    colour: Colour | None
    shine: float
    restitution: tuple[float, float]
    pitch: float
    decay: float
    modes: tuple[float, ...]
    noise: float
    sound: str


MATERIALS = {
    "rubber": Material(None, 0.25, (0.78, 0.97), 150, 0.10, (1, 1.59, 2.14), 0.25, "thud"),
    "wooden": Material(
        (0.58, 0.36, 0.17), 0.15, (0.6, 0.85), 520, 0.04, (1, 2.2, 3.9), 0.4, "knock"
    ),
    "steel": Material(
        (0.60, 0.63, 0.68), 0.95, (0.65, 0.9), 1150, 0.15, (1, 1.47, 2.09, 2.56), 0.3, "clank"
    ),
    "glass": Material(
        (0.50, 0.78, 0.84), 0.8, (0.6, 0.88), 2300, 0.07, (1, 1.32, 1.71), 0.2, "clink"
    ),
}


def _known(instance: object, attribute: object, names: tuple[str, ...]) -> None:
    if not names or set(names) - MATERIALS.keys():
        raise ValueError(f"materials: choose one or more of {', '.join(MATERIALS)}, not {names}")


@attrs.frozen
class Bounce:
    """A ball of a random one of `materials` bounces; a longer rhythm lets it fly longer."""

    materials: tuple[str, ...] = knob(
        tuple(MATERIALS), help="what the ball is made of", converter=tuple, validator=_known
    )

    def draw(self, rng: np.random.Generator, seconds: float, rhythm: Rhythm) -> BounceTake:
        """A random ball for a clip of `seconds`."""
        material = self.materials[rng.integers(len(self.materials))]
        x, drift = rng.uniform(0.32, 0.68), rng.uniform(-0.25, 0.25)
        take = BounceTake(
            material,
            rng.uniform(),
            pick(rng, PAINTS),
            pick(rng, WALLS),
            pick(rng, FLOORS),
            x,
            drift,
            np.zeros(0),
            seconds,
        )
        return take if rhythm.silent else take._thrown(rng, seconds, rhythm)


@attrs.frozen(eq=False)
class BounceTake:
    """A ball of `material`, `size` 0 to 1, `x` in mid-clip, `drift` over the clip, contact times.

    The first contact is before the clip and the last after it; without any, the ball lies still.
    """

    material: str
    size: float
    paint: tuple[str, Colour]
    backdrop: tuple[str, Colour]
    floor: tuple[str, Colour]
    x: float
    drift: float
    contacts: np.ndarray = attrs.field(converter=np.asarray)
    seconds: float

    def _thrown(self, rng: np.random.Generator, seconds: float, rhythm: Rhythm) -> BounceTake:
        longest = min(rhythm.longest, HIGHEST)
        contacts = bounces(
            rng,
            seconds,
            rest=rhythm.rest,
            flights=(max(0.58 * longest, rhythm.rest), longest),
            restitution=MATERIALS[self.material].restitution,
        )
        return attrs.evolve(self, contacts=contacts, seconds=seconds)

    def again(self, rng: np.random.Generator, seconds: float) -> BounceTake:
        """The same ball at other times."""
        return self._thrown(rng, seconds, Rhythm())

    @property
    def wall(self) -> Colour:
        """The colour of the wall."""
        return self.backdrop[1]

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
        colour = "" if MATERIALS[self.material].colour else f"{self.paint[0]} "
        ground = "on grass" if self.floor[0] == "grass" else f"on a {self.floor[0]} floor"
        does = "bounces" if self.events else "lies"
        return (
            f"a {size} {colour}{self.material} ball {does} {ground}, in front of a"
            f" {self.backdrop[0]} wall"
        )

    @property
    def sound_caption(self) -> str:
        """The caption of the sound."""
        return count(len(self.events), f"{self.material} {MATERIALS[self.material].sound}")

    def at(self, t: Number) -> Number:
        """The horizontal place at the times `t` (s)."""
        return self.x + self.drift * (t / self.seconds - 0.5)

    def picture(self, canvas: Canvas) -> None:
        """Draw all frames."""
        material, radius = MATERIALS[self.material], 0.09 + 0.07 * self.size
        canvas.ground(GROUND, self.floor[1])
        t, squash = canvas.middle, 1 - 0.2 * np.zeros_like(canvas.middle)
        room, height = GROUND - 2 * radius - 0.03, np.zeros_like(t)
        if len(self.contacts) > 1:
            last = len(self.contacts) - 2
            i = np.clip(np.searchsorted(self.contacts, t, side="right") - 1, 0, last)
            begin, end = self.contacts[i], self.contacts[i + 1]
            height = 4 * room / HIGHEST**2 * np.maximum((t - begin) * (end - t), 0)
            if material.colour is None:  # only rubber gives way
                squash = 1 - 0.22 * np.exp(-np.minimum(np.abs(t - begin), np.abs(end - t)) / 0.03)
            strength = 0.7 + 0.3 * np.diff(self.contacts) / HIGHEST
            hits = self.contacts[1:]
            canvas.flare(hits, self.at(hits), GROUND - 0.02, 0.38, 0.9 * strength)
        x, y = self.at(t), GROUND - height - radius * squash
        shade = np.clip(1 - height / room, 0.2, 1)
        canvas.paint(
            canvas.disc(x, GROUND + 0.02, radius * 1.1, radius * 0.25),
            (0.02, 0.02, 0.02),
            0.5 * shade,
        )
        canvas.sphere(
            x, y, radius / squash, radius * squash, material.colour or self.paint[1], material.shine
        )

    def sound(self, mixer: Mixer) -> None:
        """A bigger ball is lower and rings longer."""
        made, size = MATERIALS[self.material], 2 ** (0.5 - self.size)
        levels = tuple(0.4 / (1 + 0.8 * i) for i in range(len(made.modes)))
        decays = tuple(made.decay / size / (1 + 0.35 * i) for i in range(len(made.modes)))
        pitches = tuple(made.pitch * size * mode for mode in made.modes)
        body = Struck(pitches, levels, decays, made.noise, 0.02)
        flights = np.diff(self.contacts)
        for time, flight in zip(self.contacts[1:], flights, strict=True):
            mixer.strike(float(time), body, 0.7 + 0.3 * flight / HIGHEST, float(self.at(time)))
