"""A scene draws takes; a take draws itself on a canvas and mixes its own sound."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from harmony_parts.av import Event, Phoneme
from harmony_parts.scenes.canvas import Canvas, Colour
from harmony_parts.scenes.mixer import Mixer
from harmony_parts.scenes.rhythm import Rhythm


class Take(Protocol):
    """One performance of a scene, described by its settings alone.

    Its picture and its events don't depend on the resolution, the frame rate or the sample rate.
    Takes with spoken words also implement `Spoken`.
    """

    @property
    def wall(self) -> Colour:
        """The colour that fills the canvas beforehand."""

    @property
    def events(self) -> Sequence[Event]:
        """What happens, in order of time."""

    @property
    def caption(self) -> str:
        """What is seen."""

    @property
    def sound_caption(self) -> str:
        """What is heard."""

    def picture(self, canvas: Canvas) -> None:
        """Draw all frames."""

    def sound(self, mixer: Mixer) -> None:
        """Add all sounds, each at the place in the picture that it comes from."""

    def again(self, rng: np.random.Generator, seconds: float) -> Take:
        """The same bodies or speakers in another performance, for a reference audio."""


@runtime_checkable
class Spoken(Protocol):
    """A take with spoken words, and the truth about them."""

    @property
    def transcript(self) -> str:
        """The words, in the order of speaking."""

    @property
    def phonemes(self) -> Sequence[Phoneme]:
        """All phonemes in order of time."""

    @property
    def speakers(self) -> Sequence[str]:
        """The name of each speaker's voice."""

    def mouth(self, times: np.ndarray) -> np.ndarray:
        """The opening of each speaker's mouth, 0 to 1, at `times` [N] (s): [speakers, N]."""


class StageScene(Protocol):
    """A scene of Soundstage: its settings say what varies between takes."""

    def draw(self, rng: np.random.Generator, seconds: float, rhythm: Rhythm) -> Take:
        """A random take of `seconds` whose events have the gaps of `rhythm`.

        Every random choice comes from `rng`.
        """
