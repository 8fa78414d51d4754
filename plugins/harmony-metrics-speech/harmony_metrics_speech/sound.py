"""A metric of the sound alone, from two functions: what is heard, and the numbers of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from harmony_metrics_speech.library import Library
from harmony_parts.av import AV, Event
from harmony_parts.media.clip import Clip
from harmony_parts.metrics.protocol import MetricSpec, Reference

RATE = 16000  # Hz, of every network here
SHORTEST = 0.5  # s
SILENT = 1e-4  # of full scale


def waveform(clip: Clip) -> np.ndarray:
    """[samples] at RATE Hz: the mean of the channels, cut to -1..1 as a player does."""
    from torchaudio.functional import resample

    return resample(clip.mono(), clip.sample_rate, RATE).clamp(-1, 1).numpy()


@attrs.frozen(eq=False)
class Heard:
    """What was found in a sound; `None`, and the `reason` in words, if nothing could be."""

    found: Any = None
    reason: str = ""


@attrs.frozen(eq=False)
class SoundMetric:
    """Scores sounds, never with a picture: re-paired, a sound has other clips' references.

    `measure`: [samples] at 16 kHz -> what is found in it, or None. `numbers`: that, and the
    reference -> named numbers. `weighed`: name of a number -> that of its weight. `needs`: the
    field of the reference without which there are no numbers.
    """

    spec: MetricSpec
    library: Library
    measure: Callable[[np.ndarray], Any]
    numbers: Callable[[Any, Reference], dict[str, float]]
    weighed: Mapping[str, str] = {}
    needs: str = ""
    reads: tuple[str, ...] = ("audio",)

    def analyse(self, clip: Clip) -> AV[Heard]:
        """What is heard in the sound of a clip."""
        return AV(video=None, audio=None if clip.waveform is None else self.hear(clip))

    def hear(self, clip: Clip) -> Heard:
        """Of a clip with sound."""
        sound = waveform(clip)
        if len(sound) < SHORTEST * RATE:
            return Heard(reason=f"the sound is shorter than {SHORTEST:g} s")
        if np.abs(sound).max() < SILENT:
            return Heard(reason="the sound is silent")
        found = self.measure(sound)
        return Heard(found, "" if found is not None else "there is no voice")

    def score(
        self,
        video: Any,
        audio: Heard,
        truth: Sequence[Event] | None = None,
        reference: Reference | None = None,
    ) -> dict[str, float]:
        """The numbers that are defined: none if nothing was heard."""
        if audio.found is None:
            return {}
        return self.numbers(audio.found, reference or Reference())

    def reason(self, video: Any, audio: Heard, reference: Reference | None = None) -> str:
        """Why there are no numbers, in words; empty if there are some."""
        if audio.found is None:
            return audio.reason
        if self.needs and getattr(reference, self.needs, None) is None:
            return f"there is no {self.needs} to compare with"
        if not self.score(video, audio, None, reference):
            return f"there is too little in the {self.needs} to compare with"
        return ""

    def weights(self, numbers: dict[str, float]) -> dict[str, float]:
        """The numbers that weigh others, such as the words of a share of wrong words."""
        return {name: numbers[by] for name, by in self.weighed.items() if name in numbers}
