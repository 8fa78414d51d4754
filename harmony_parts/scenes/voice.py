"""A formant synthesiser: pulses of the voice through resonances, and shaped noise."""

from __future__ import annotations

import attrs
import numpy as np

from harmony_parts.scenes.mixer import Mixer
from harmony_parts.scenes.phones import PHONES
from harmony_parts.scenes.utterance import Utterance

Array = np.ndarray

F4 = 3500.0  # Hz of a man's voice
BANDWIDTHS = (70.0, 100.0, 140.0, 220.0)  # Hz
LEVELS = (0.46, 0.26, 0.13, 0.06)
RING = 0.025  # s of each pulse
ATTACK = 0.0012  # s, over which a pulse rises: the softer, the darker the voice
STEP = 0.002  # s between the values of pitch


@attrs.frozen
class Voice:
    """A voice: `name`, mean `pitch` in Hz, `tract` (factor on a man's formants), its `tempo`.

    `breath` is the level of noise in its vowels, `dark` stretches the attack of its pulses.
    """

    name: str
    pitch: float
    tract: float
    tempo: float
    breath: float
    dark: float

    def say(self, utterance: Utterance, mixer: Mixer, x: float = 0.5) -> None:
        """Add the words to the mix, heard from `x`."""
        spans = utterance.phones()
        if not spans:
            return
        self._voiced(utterance, mixer, x)
        for start, end, name in spans:
            phone = PHONES[name]
            if phone.hiss:
                begin = end - 0.035 if phone.burst else start
                self._noise(mixer, x, begin, end, phone.hiss, phone.pitch, phone.spread)
            elif self.breath and phone.voiced == 1:
                self._noise(mixer, x, start, end, self.breath, 1800, 900)

    def _voiced(self, utterance: Utterance, mixer: Mixer, x: float) -> None:
        """Formant wave functions: each pulse excites all resonances, exp(-pi B t) sin(2 pi F t).

        Source: Rodet 1984, doi:10.2307/3679811. Pulses are at exact times, whatever the rate.
        """
        phones = [PHONES[name] for _, _, name in utterance.phones()]
        begin, end = utterance.words[0].start - 0.03, utterance.words[-1].end + 0.05
        grid = np.arange(begin, end, STEP)
        melody = [point for word in utterance.words for point in word.pitches()]
        at, height = np.array(melody).T
        fall = 1.06 - 0.12 * (grid - begin) / (end - begin)
        pitch = self.pitch * fall * 2 ** (np.interp(grid, at, height) / 12)
        turns = np.concatenate([[0], np.cumsum((pitch[1:] + pitch[:-1]) / 2 * STEP)])
        pulses = np.interp(np.arange(int(turns[-1])), turns, grid)
        level = utterance.track(pulses, [each.voiced for each in phones], 0.0)
        pulses, level = pulses[level > 0.01], level[level > 0.01]
        if not len(pulses):
            return
        first = np.ceil(pulses * mixer.rate).astype(int)
        count = int(RING * mixer.rate)
        age = ((first[:, None] + np.arange(count)) / mixer.rate - pulses[:, None]).astype(
            np.float32
        )
        sound = np.zeros_like(age)
        for number, (width, strong) in enumerate(zip(BANDWIDTHS, LEVELS, strict=True)):
            here = [each.formants[number] if number < 3 else F4 for each in phones]
            f = self.tract * utterance.track(pulses, here)
            kept = (f < 0.45 * mixer.rate) * strong
            decay = np.exp(np.float32(-np.pi * width) * age[:1])
            wave = np.sin((2 * np.pi * f).astype(np.float32)[:, None] * age)
            sound += kept.astype(np.float32)[:, None] * decay * wave
        rise = np.minimum(age / np.float32(ATTACK * self.dark), 1)
        sound *= rise * rise * (3 - 2 * rise) * level.astype(np.float32)[:, None]
        base = int(first[0])
        place = (first - base)[:, None] + np.arange(count)
        whole = np.bincount(place.ravel(), sound.ravel()).astype(np.float32)
        skip = max(-base, 0)
        whole = whole[skip : max(mixer.samples - base, 0)]
        mixer.add((base + skip) / mixer.rate, whole, x)

    def _noise(
        self,
        mixer: Mixer,
        x: float,
        begin: float,
        end: float,
        level: float,
        pitch: float,
        spread: float,
    ) -> None:
        """Noise of a Gaussian spectrum, which swells and fades."""
        age = mixer.ages(max(begin, 0.0), end - begin)
        if len(age) < 8:
            return
        f = np.fft.rfftfreq(len(age), 1 / mixer.rate)
        centre = min(pitch * self.tract, 0.42 * mixer.rate)
        shape = np.exp(-(((f - centre) / spread) ** 2) / 2)
        noise = np.fft.irfft(np.fft.rfft(mixer.rng.normal(size=len(age))) * shape, len(age))
        noise *= level / max(float(np.sqrt(np.mean(noise**2))), 1e-9)
        edge = min(0.02, (end - begin) / 4)
        swell = np.clip(np.minimum(age, end - begin - age) / edge, 0, 1)
        mixer.add(max(begin, 0.0), (noise * swell * 0.5).astype(np.float32), x)


VOICES = (
    Voice("a deep voice", 98, 0.96, 0.95, 0.0, 1.2),
    Voice("a man's voice", 124, 1.0, 1.05, 0.0, 1.0),
    Voice("a hoarse voice", 112, 0.98, 1.0, 0.05, 1.3),
    Voice("a woman's voice", 198, 1.14, 1.05, 0.01, 1.0),
    Voice("a soft voice", 176, 1.10, 0.92, 0.04, 1.5),
    Voice("a child's voice", 262, 1.26, 1.0, 0.01, 0.9),
)
