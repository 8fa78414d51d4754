"""The rise of the speech band, and the correlation of two signals over lags."""

from __future__ import annotations

import numpy as np

STEP = 0.01  # s between the values that are correlated
WINDOW = 0.02  # s, of the band's energy


def band_level(sound: np.ndarray, rate: int, low: float, high: float) -> np.ndarray:
    """[N] root mean square of the band from `low` to `high` Hz at intervals of STEP from 0."""
    count = int(len(sound) / rate / STEP)
    if not count:
        return np.zeros(0)
    spectrum = np.fft.rfft(sound.astype(np.float64))
    hertz = np.fft.rfftfreq(len(sound), 1 / rate)
    spectrum[(hertz < low) | (hertz > high)] = 0
    square = np.fft.irfft(spectrum, len(sound)) ** 2
    half = max(1, round(WINDOW * rate / 2))
    hann = np.hanning(2 * half + 3)[1:-1]
    smooth = np.convolve(np.pad(square, half), hann / hann.sum(), mode="valid")
    at = np.interp(np.arange(count) * STEP, np.arange(len(smooth)) / rate, smooth)
    return np.sqrt(np.maximum(at, 0))


def triangle(values: np.ndarray, width: float) -> np.ndarray:
    """`values` [N] smoothed by a triangle whose half width is `width` s."""
    half = max(1, round(width / STEP))
    window = 1 - np.abs(np.arange(-half, half + 1)) / (half + 1)
    padded = np.pad(values, half, mode="edge")
    return np.convolve(padded, window / window.sum(), mode="valid")


def without_drift(values: np.ndarray, width: float) -> np.ndarray:
    """`values` [N] less their moving mean over `width` s."""
    half = max(1, round(width / STEP / 2))
    padded = np.pad(values, half, mode="reflect" if len(values) > half else "edge")
    return values - np.convolve(padded, np.full(2 * half + 1, 1 / (2 * half + 1)), mode="valid")


def rise(level: np.ndarray) -> np.ndarray:
    """[N] central differences, a second."""
    padded = np.pad(level, 1, mode="edge")
    return (padded[2:] - padded[:-2]) / (2 * STEP)


def correlations(video: np.ndarray, audio: np.ndarray, reach: int) -> np.ndarray:
    """[2 reach + 1] correlation at lags -reach ... reach; a positive lag is sound after picture.

    c(lag) = sum over t of v(t) a(t + lag) / (|v| |a|), where each norm is over the values that
    overlap at that lag. Zero where a norm is.
    """
    length = min(len(video), len(audio))
    values = np.zeros(2 * reach + 1)
    for i, lag in enumerate(range(-reach, reach + 1)):
        v = video[max(0, -lag) : length - max(0, lag)]
        a = audio[max(0, lag) : length - max(0, -lag)]
        scale = np.sqrt((v**2).sum() * (a**2).sum()) if len(v) else 0.0
        if scale > 1e-12:
            values[i] = (v * a).sum() / scale
    return values


def vertex(values: np.ndarray) -> tuple[float, float]:
    """(place, height) of the highest value, by a parabola through it and its neighbours."""
    best = int(np.argmax(values))
    peak = float(values[best])
    if 0 < best < len(values) - 1:
        before, after = values[best - 1], values[best + 1]
        curvature = before - 2 * peak + after
        if curvature < 0:
            shift = float((before - after) / (2 * curvature))
            return best + shift, min(1.0, peak - float(before - after) * shift / 4)
    return float(best), peak
