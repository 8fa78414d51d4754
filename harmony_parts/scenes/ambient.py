"""The ambient set: any of its scenes, with distractors, sounds from outside, and silences."""

from __future__ import annotations

import attrs
import numpy as np

from harmony_parts.av import Event
from harmony_parts.plugin import default_parts, knob
from harmony_parts.scenes.canvas import PAINTS, Canvas, Colour, pick
from harmony_parts.scenes.distractors import Mover, Outside
from harmony_parts.scenes.mixer import Mixer, Struck
from harmony_parts.scenes.protocol import StageScene, Take
from harmony_parts.scenes.rhythm import FIRST, LAST, Rhythm

SCENES = (
    "bounce:Bounce",
    "hammer:Hammer",
    "bar:Bar",
    "string:String",
    "drum:Drum",
    "bell:Bell",
    "steps:Steps",
    "rain:Rain",
    "melody:Melody",
)
CLOSEST = 0.22  # s, the least gap of events at any rate: metrics tell events 0.2 s apart
# An event that is heard and not seen: a knock on wood outside the picture.
KNOCK = Struck((390, 610, 1130), (0.4, 0.25, 0.15), (0.04, 0.03, 0.02), 0.2, 0.008)
share = attrs.validators.and_(attrs.validators.ge(0), attrs.validators.le(1))


@attrs.frozen
class Ambient:
    """A random one of `scenes`, and around it what makes correspondence hard to guess."""

    scenes: tuple[StageScene, ...] = knob(
        default_parts(*(f"harmony_parts.scenes.{each}" for each in SCENES)),
        help="the scenes to draw from",
        validator=attrs.validators.min_len(1),
        converter=tuple,
    )
    events: float = knob(
        1.0, help="events a second, as a factor", off=1.0, validator=attrs.validators.gt(0)
    )
    distractors: int = knob(
        2, help="most things that move and make no sound", off=0, validator=attrs.validators.ge(0)
    )
    outside: float = knob(
        0.3,
        help="share of takes with a soft sound from outside the picture",
        off=0.0,
        validator=share,
    )
    knocks: int = knob(
        0, help="most events that are heard and not seen", off=0, validator=attrs.validators.ge(0)
    )
    silent: float = knob(
        0.06, help="share of takes in which nothing happens", off=0.0, validator=share
    )
    clutter: int = knob(
        0, help="things that hang on the wall", off=0, validator=attrs.validators.ge(0)
    )
    jitter: float = knob(
        0.0,
        help="camera shake, as a share of the picture's height",
        off=0.0,
        validator=attrs.validators.ge(0),
    )

    def draw(self, rng: np.random.Generator, seconds: float, rhythm: Rhythm) -> AmbientTake:
        """A random take for a clip of `seconds`."""
        scene = self.scenes[rng.integers(len(self.scenes))]
        silent = rhythm.silent or bool(rng.uniform() < self.silent)
        rest = max(CLOSEST, rhythm.rest / self.events)
        longest = max(rest + 0.05, rhythm.longest / self.events)
        inner = scene.draw(rng, seconds, Rhythm(rest, longest, silent))
        movers = tuple(Mover.draw(rng) for _ in range(rng.integers(self.distractors + 1)))
        outside = Outside.draw(rng) if rng.uniform() < self.outside else None
        number = 0 if silent else int(rng.integers(self.knocks + 1))
        knocks = rng.uniform(FIRST, max(FIRST, seconds - LAST), number)
        marks = tuple(
            (
                pick(rng, PAINTS)[1],
                float(rng.uniform()),
                float(rng.uniform(0, 0.8)),
                float(rng.uniform(0.03, 0.09)),
                float(rng.uniform(0, np.pi)),
            )
            for _ in range(self.clutter)
        )
        shake = self.jitter * rng.normal(size=(2, 3)) / 1.7
        return AmbientTake(inner, movers, outside, np.sort(knocks), marks, shake)


@attrs.frozen(eq=False)
class AmbientTake:
    """A take among distractors.

    `movers` move silently, `outside` is heard all the time, `knocks` [N] (s) are heard from outside
    the picture. `marks` on the wall are (colour, x, y, half width, angle). `shake` [2, 3]: the
    camera's horizontal and vertical amplitudes at 1.3, 2.9 and 4.7 Hz.
    """

    inner: Take
    movers: tuple[Mover, ...] = ()
    outside: Outside | None = None
    knocks: np.ndarray = attrs.field(factory=lambda: np.zeros(0), converter=np.asarray)
    marks: tuple[tuple[Colour, float, float, float, float], ...] = ()
    shake: np.ndarray = attrs.field(factory=lambda: np.zeros((2, 3)), converter=np.asarray)

    def again(self, rng: np.random.Generator, seconds: float) -> AmbientTake:
        """The same bodies and the same ambience at other times."""
        return AmbientTake(self.inner.again(rng, seconds), outside=self.outside)

    @property
    def wall(self) -> Colour:
        """The colour of the wall."""
        return self.inner.wall

    @property
    def events(self) -> list[Event]:
        """Those of the take, and the knocks, which are only heard."""
        knocks = [Event(float(t), "knock", None, ("audio",)) for t in self.knocks]
        return sorted([*self.inner.events, *knocks], key=lambda event: event.time)

    @property
    def caption(self) -> str:
        """The caption of the picture."""
        return ", ".join([self.inner.caption, *(mover.caption for mover in self.movers)])

    @property
    def sound_caption(self) -> str:
        """The caption of the sound."""
        parts = [self.inner.sound_caption]
        if len(self.knocks):
            parts.append("knocks outside the picture")
        if self.outside is not None:
            parts.append(self.outside.caption)
        return ", ".join(parts)

    def picture(self, canvas: Canvas) -> None:
        """Draw all frames."""
        if self.shake.any():
            t = canvas.middle.ravel()
            waves = np.sin(2 * np.pi * np.array([1.3, 2.9, 4.7])[:, None] * t)
            canvas.shift(*(self.shake @ waves))
        for colour, x, y, half, angle in self.marks:
            canvas.paint(canvas.box(x, y, half, 0.6 * half, angle), colour, 0.4)
        for mover in self.movers:
            mover.picture(canvas)
        self.inner.picture(canvas)

    def sound(self, mixer: Mixer) -> None:
        """The take's own sound, then what comes from outside."""
        self.inner.sound(mixer)
        for time in self.knocks:
            mixer.strike(float(time), KNOCK, 0.8, 0.0)
        if self.outside is not None:
            self.outside.sound(mixer)
