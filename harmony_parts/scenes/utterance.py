"""From words to a time line: phonemes, pitch, and the shape of the mouth."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np

from harmony_parts.scenes.phones import PHONES, TONES, Phone, Word

EDGE = 0.35  # share of a phoneme at either end in which its neighbours are approached
MOST_EDGE = 0.04  # s


@attrs.frozen
class Spoken:
    """A word that is said from `start` s on at `tempo` (2 is twice as fast)."""

    word: Word
    start: float
    tempo: float = 1.0

    def phones(self) -> list[tuple[float, float, str]]:
        """(start, end, phoneme) of each of its phonemes; the last vowel is longer."""
        names = [name.lstrip(".") for name in self.word.phones]
        vowels = [k for k, name in enumerate(names) if PHONES[name].voiced == 1]
        spans, time = [], self.start
        for k, name in enumerate(names):
            together = k + 1 in vowels and k in vowels  # diphthongs are shorter than two vowels
            longer = 1.25 if k == vowels[-1] else 0.75 if together else 1.0
            end = time + PHONES[name].seconds * longer / self.tempo
            spans.append((time, end, name))
            time = end
        return spans

    @property
    def end(self) -> float:
        """When it ends, in s."""
        return self.phones()[-1][1]

    def pitches(self) -> list[tuple[float, float]]:
        """(time, semitones) of the melody of its syllables."""
        spans = self.phones()
        first = [k for k, name in enumerate(self.word.phones) if name.startswith(".")] or [0]
        points = []
        for number, (k, after) in enumerate(zip(first, [*first[1:], len(spans)], strict=True)):
            tone = TONES[self.word.tones[number] if self.word.tones else 0]
            begin, end = spans[k][0], spans[after - 1][1]
            stress = 1.5 if not self.word.tones and number == 0 else 0.0
            points += [
                (begin + share * (end - begin), height + stress * (1 - share))
                for share, height in zip((0.1, 0.5, 0.95), tone, strict=True)
            ]
        return points


@attrs.frozen
class Utterance:
    """Words that one speaker says one after the other."""

    words: tuple[Spoken, ...] = ()

    @property
    def text(self) -> str:
        """The words as written; Chinese has no spaces."""
        texts = [each.word.text for each in self.words]
        return ("" if texts and not texts[0].isascii() else " ").join(texts)

    def phones(self) -> list[tuple[float, float, str]]:
        """(start, end, phoneme) of all of them."""
        return [span for word in self.words for span in word.phones()]

    def track(
        self, times: np.ndarray, value: Sequence[float], rest: float | None = None
    ) -> np.ndarray:
        """A value of each phoneme over `times` [N], with `rest` (None: no change) in pauses; [N].

        It keeps a phoneme's value in its middle, and changes evenly between two of them.
        """
        points: list[tuple[float, float]] = []
        last = -np.inf
        for (start, end, _), each in zip(self.phones(), value, strict=True):
            edge = min(EDGE * (end - start), MOST_EDGE)
            if rest is not None and start > last + 1e-6:
                points += [(max(last, -1.0), rest)] if points else []
                points += [(start - 0.03, rest)]
            points += [(start + edge, each), (end - edge, each)]
            last = end
        if rest is not None:
            points.append((last + 0.04, rest))
        if not points or not self.words:
            return np.full(times.shape, rest or 0.0)
        at, height = np.array(sorted(points, key=lambda point: point[0])).T
        return np.interp(times, at, height)

    def mouth(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Opening (0 to 1) and width (-1 to 1) of the mouth at `times`."""
        phones: list[Phone] = [PHONES[name] for _, _, name in self.phones()]
        return (
            self.track(times, [each.opening for each in phones], 0.0),
            self.track(times, [each.width for each in phones], 0.0),
        )


def compose(
    rng: np.random.Generator, words: Sequence[Word], start: float, end: float, tempo: float
) -> Utterance:
    """Random words between two times, with short pauses; none if not one has room."""
    said: list[Spoken] = []
    time = start
    while True:
        word = Spoken(words[int(rng.integers(len(words)))], time, tempo)
        if word.end > end:
            shorter = min(words, key=lambda each: Spoken(each, time, tempo).end)
            word = Spoken(shorter, time, tempo)
            if said or word.end > end:
                return Utterance(tuple(said))
        said.append(word)
        time = word.end + rng.uniform(0.06, 0.2)
