"""The complex set: somebody talks in front of an ambient scene."""

from __future__ import annotations

import attrs
import numpy as np

from harmony_parts.av import Event, Phoneme
from harmony_parts.plugin import default_part, knob
from harmony_parts.scenes.canvas import Canvas, Colour
from harmony_parts.scenes.mixer import Mixer
from harmony_parts.scenes.protocol import Spoken, StageScene, Take
from harmony_parts.scenes.rhythm import Rhythm

SIDE = 0.58  # of the square in which the speaker is drawn, in a lower corner
GAIN = 0.75  # of both sounds


@attrs.frozen
class Complex:
    """A take of `front` in a lower corner of a take of `back`, with both sounds."""

    back: StageScene = knob(
        default_part("harmony_parts.scenes.ambient:Ambient", distractors=1, silent=0.0),
        help="the scene that fills the picture",
    )
    front: StageScene = knob(
        default_part("harmony_parts.scenes.talk:Talk", pairs=0.0, room=False),
        help="the scene in a corner, which must leave the picture around it free",
    )

    def draw(self, rng: np.random.Generator, seconds: float, rhythm: Rhythm) -> ComplexTake:
        """A random take of each."""
        right = bool(rng.integers(2))
        back = self.back.draw(rng, seconds, rhythm)
        return ComplexTake(back, self.front.draw(rng, seconds, rhythm), right)


@attrs.frozen(eq=False)
class ComplexTake:
    """The take `front` in the lower right or left corner of the take `back`."""

    back: Take
    front: Take
    right: bool

    def _corner(self) -> tuple[float, float]:
        return (1.02 - SIDE if self.right else -0.02), 1.0 - SIDE

    def again(self, rng: np.random.Generator, seconds: float) -> ComplexTake:
        """The same bodies and the same speaker in another performance."""
        return ComplexTake(
            self.back.again(rng, seconds), self.front.again(rng, seconds), self.right
        )

    @property
    def wall(self) -> Colour:
        """The colour of the wall."""
        return self.back.wall

    @property
    def events(self) -> list[Event]:
        """Those of both."""
        x, y = self._corner()
        moved = [
            attrs.evolve(
                event,
                place=event.place and (x + SIDE * event.place[0], y + SIDE * event.place[1]),
            )
            for event in self.front.events
        ]
        return sorted([*self.back.events, *moved], key=lambda event: event.time)

    @property
    def caption(self) -> str:
        """The caption of the picture."""
        return f"{self.front.caption}; behind, {self.back.caption}"

    @property
    def sound_caption(self) -> str:
        """The caption of the sound."""
        return f"{self.front.sound_caption}; {self.back.sound_caption}"

    @property
    def transcript(self) -> str:
        """What is said in front."""
        return self.front.transcript if isinstance(self.front, Spoken) else ""

    @property
    def phonemes(self) -> list[Phoneme]:
        """Those of the speakers in front."""
        return list(self.front.phonemes) if isinstance(self.front, Spoken) else []

    @property
    def speakers(self) -> tuple[str, ...]:
        """The speakers in front."""
        return tuple(self.front.speakers) if isinstance(self.front, Spoken) else ()

    def mouth(self, times: np.ndarray) -> np.ndarray:
        """The opening of their mouths, [speakers, N]."""
        if isinstance(self.front, Spoken):
            return self.front.mouth(times)
        return np.zeros((0, len(times)))

    def picture(self, canvas: Canvas) -> None:
        """Draw all frames."""
        self.back.picture(canvas)
        self.front.picture(canvas.inset(*self._corner(), SIDE))

    def sound(self, mixer: Mixer) -> None:
        """Both sounds."""
        self.back.sound(mixer.inset(0.0, 1.0, GAIN))
        self.front.sound(mixer.inset(self._corner()[0], SIDE, GAIN))
