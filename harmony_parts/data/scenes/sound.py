"""The sound of struck bodies, and random times of strikes."""

from __future__ import annotations

import attrs
import numpy as np

Array = np.ndarray

# s: no event before FIRST or within LAST of the end of a clip; events are at least REST apart
FIRST, REST, LAST = 0.12, 0.35, 0.15
NUMBERS = (
    "no",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
)


@attrs.frozen
class Struck:
    """A struck body: modes of `frequencies` Hz, `levels` (1 is full scale) and `decays` s.

    `noise`, of decay `noise_decay` s, gives a broadband attack.
    """

    frequencies: tuple[float, ...]
    levels: tuple[float, ...]
    decays: tuple[float, ...]
    noise: float
    noise_decay: float

    def ring(self, age: Array, rate: int, rng: np.random.Generator) -> Array:
        """Sound [N] at `age` [N] >= 0 s after the strike: sum of level exp(-t/decay) sin(2 pi f t).

        Noise is added, and modes above 0.45 of the rate are left out.
        """
        age = age.astype(np.float32)
        sound = (
            np.float32(self.noise)
            * np.exp(-age / np.float32(self.noise_decay))
            * rng.uniform(-1, 1, len(age)).astype(np.float32)
        )
        for frequency, level, decay in zip(self.frequencies, self.levels, self.decays, strict=True):
            if frequency < 0.45 * rate:
                sound += (
                    np.float32(level)
                    * np.exp(-age / np.float32(decay))
                    * np.sin(np.float32(2 * np.pi * frequency) * age)
                )
        return sound * np.minimum(age * 2000, 1)  # half a millisecond of attack


def mix(
    strikes: list[tuple[float, float, Struck]], samples: int, rate: int, rng: np.random.Generator
) -> Array:
    """float32 [samples]: the sum of the strikes (time in s, level, body), clipped to [-1, 1].

    Each begins at the first sample at or after its time, with the exact phase.
    """
    sound = np.zeros(samples, np.float32)
    for time, level, body in strikes:
        first = int(np.ceil(time * rate))
        longest = max((*body.decays, body.noise_decay))
        last = min(samples, first + int(7 * longest * rate))  # exp(-7): 60 dB down
        if 0 <= first < last:
            sound[first:last] += np.float32(level) * body.ring(
                np.arange(first, last) / rate - time, rate, rng
            )
    return np.clip(sound, -1, 1)


def irregular(rng: np.random.Generator, seconds: float, longest: float = 1.1) -> Array:
    """Irregular event times [N] in s: gaps are uniform from REST to `longest`.

    Empty if the clip is too short for an event.
    """
    end = seconds - LAST
    time = rng.uniform(FIRST, FIRST + 0.6 * longest)
    times = []
    while time < end:
        times.append(time)
        time += rng.uniform(REST, longest)
    if not times and end > FIRST:
        times.append(rng.uniform(FIRST, end))
    return np.array(times)


def count(number: int, thing: str) -> str:
    """Number and noun in words: (3, "low thud") -> "three low thuds"."""
    word = NUMBERS[number] if number < len(NUMBERS) else "many"
    return f"{word} {thing}" + ("" if number == 1 else "s")
