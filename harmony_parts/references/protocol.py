"""References: which piece of which recording a training clip gets as its reference audio.

The model learns a voice from the reference. A reference that contains its own target teaches it to
copy instead, so later stages take one from elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Protocol

import attrs
import torch


@attrs.frozen
class Recording:
    """A recording that a piece can be cut from: its file, its length in seconds, and who speaks.

    Recordings of the same file are the same sound. `speaker` is `None` if it isn't known.
    """

    file: str
    seconds: float
    speaker: str | None = None


@attrs.frozen
class Piece:
    """Where a sound comes from: the number of its recording, and its begin and end in seconds."""

    recording: int
    begin: float
    end: float

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.end - self.begin

    def samples(self, rate: int) -> tuple[int, int]:
        """Its first sample, and the one after its last, at `rate` Hz: only whole ones inside."""
        return math.ceil(self.begin * rate - 1e-6), math.floor(self.end * rate + 1e-6)


class Recordings:
    """All recordings of a data set, by number and by speaker.

    `seconds(number)` is called only for recordings that a reference looks at, since it may have to
    open a file.
    """

    def __init__(
        self,
        files: Sequence[str],
        speakers: Sequence[str | None],
        seconds: Callable[[int], float],
    ) -> None:
        self._files, self._speakers, self._seconds = files, speakers, seconds

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, number: int) -> Recording:
        """The recording of a number."""
        return Recording(self._files[number], self._seconds(number), self._speakers[number])

    def others_of_speaker(self, number: int) -> Sequence[int]:
        """The numbers of the recordings of the same speaker in other files, in order."""
        speaker, file = self._speakers[number], self._files[number]
        own = () if speaker is None else self._by_speaker[speaker]
        return [other for other in own if self._files[other] != file]

    @cached_property
    def _by_speaker(self) -> Mapping[str, Sequence[int]]:
        numbers: dict[str, list[int]] = {}
        for number, speaker in enumerate(self._speakers):
            if speaker is not None:
                numbers.setdefault(speaker, []).append(number)
        return numbers


class VoiceReference(Protocol):
    """Draws the reference of a clip; a value, like a task: it has settings and no state."""

    def draw(
        self, target: Piece, recordings: Recordings, generator: torch.Generator
    ) -> Piece | None:
        """A piece of one of the `recordings` for the clip `target`, `None` if there is none.

        Every call draws the same amount of randomness, whatever it finds, so that a clip doesn't
        depend on the clips before it. Several references of a clip are several calls.
        """
