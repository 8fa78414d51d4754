"""The envelope of a sound."""

from __future__ import annotations

import numpy as np


def smooth_energy(sound: np.ndarray, rate: int, window: float, hop: float) -> np.ndarray:
    """[N] mean square of `sound` [samples] under a Hann window of `window` s, every `hop` s."""
    count = int(len(sound) / rate / hop)
    half = max(1, round(window * rate / 2))
    hann = np.hanning(2 * half + 3)[1:-1]
    square = np.pad(sound.astype(np.float64) ** 2, half)
    smooth = np.convolve(square, hann / hann.sum(), mode="valid")  # [samples]
    # Sample j is the energy at j / rate; interpolate at n hop.
    return np.interp(np.arange(count) * hop, np.arange(len(smooth)) / rate, smooth)
