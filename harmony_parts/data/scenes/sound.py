"""Sound of things that are struck, and when they are struck."""

from __future__ import annotations

import attrs
import numpy as np

Array = np.ndarray

# s: nothing happens before FIRST, nor in the last LAST of a clip; at least REST lies between events
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
    """A struck body: modes of `frequencies` Hz, `levels` (1 is full scale) and `decays` s, and
    noise that makes the attack broad.
    """

    frequencies: tuple[float, ...]
    levels: tuple[float, ...]
    decays: tuple[float, ...]
    noise: float
    noise_decay: float

    def ring(self, age: Array, rate: int, rng: np.random.Generator) -> Array:
        """Sound at `age` [N] seconds after the strike (0 or later): sum of level exp(-t/decay)
        sin(2 pi f t), and the noise.

        Modes above 0.45 of the rate are left out.
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
    """float32 [samples]: each (time in s, level, body) sounds from the first sample at or after its
    time, in its exact phase.
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
    """Event times [N] in seconds without a rhythm: gaps uniform from REST to `longest`. Empty where
    the clip is too short for one.
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
    """ "three low thuds" of 3 and "low thud"."""
    word = NUMBERS[number] if number < len(NUMBERS) else "many"
    return f"{word} {thing}" + ("" if number == 1 else "s")
