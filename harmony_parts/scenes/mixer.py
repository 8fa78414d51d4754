"""Sound: a mix of struck bodies and other sounds, each at its exact time and place."""

from __future__ import annotations

import attrs
import numpy as np

Array = np.ndarray

# The pan of a sound at the picture's left and right edge, where 0 and 1 are one channel alone.
PAN = (0.2, 0.8)


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


class Mixer:
    """A sound of `samples` samples at `rate` Hz to add to; noise comes from `rng`.

    The mean of its `channels` (1 or 2) is the same mono mix.
    """

    def __init__(
        self, samples: int, rate: int, rng: np.random.Generator, channels: int = 1
    ) -> None:
        self.rate, self.rng = rate, rng
        self._gain, self._left, self._width = np.float32(1), 0.0, 1.0
        self._mix = np.zeros((channels, samples), np.float32)

    def inset(self, x: float, width: float, gain: float) -> Mixer:
        """The same mix for what is heard from the part of the picture from `x` to `x` + `width`.

        Its sounds are multiplied by `gain`.
        """
        part = Mixer(0, self.rate, self.rng)
        part._mix, part._gain = self._mix, self._gain * np.float32(gain)
        part._left, part._width = self._left + self._width * x, self._width * width
        return part

    @property
    def samples(self) -> int:
        """Its length."""
        return self._mix.shape[1]

    def strike(self, time: float, body: Struck, level: float = 1.0, x: float = 0.5) -> None:
        """Strike `body` at `time` s, heard from `x`: the picture reaches from 0 (left) to 1.

        It begins at the first sample at or after its time, with the exact phase.
        """
        age = self.ages(time, 7 * max((*body.decays, body.noise_decay)))  # exp(-7): 60 dB down
        if len(age):
            self.add(time, np.float32(level) * body.ring(age, self.rate, self.rng), x)

    def ages(self, time: float, seconds: float) -> Array:
        """The samples of a sound that begins at `time` and lasts `seconds`, as s since `time` [N].

        Empty if it begins outside the mix; cut at the end of the mix.
        """
        first = int(np.ceil(time * self.rate))
        last = min(self.samples, first + int(seconds * self.rate))
        return np.arange(first, last) / self.rate - time if 0 <= first < last else np.zeros(0)

    def add(self, time: float, sound: Array, x: float = 0.5) -> None:
        """Add `sound` [N] from the first sample at or after `time` on, heard from `x`."""
        first = int(np.ceil(time * self.rate))
        sound = self._gain * sound
        if len(self._mix) == 1:
            self._mix[0, first : first + len(sound)] += sound
            return
        right = PAN[0] + (PAN[1] - PAN[0]) * min(max(self._left + self._width * x, 0.0), 1.0)
        gains = np.array([2 * (1 - right), 2 * right], np.float32)
        self._mix[:, first : first + len(sound)] += gains[:, None] * sound

    def sound(self) -> Array:
        """float32 [channels, samples], clipped to [-1, 1]."""
        return np.clip(self._mix, -1, 1)
