"""Movements around the times of events."""

from __future__ import annotations

import numpy as np

Array = np.ndarray


def approach(t: Array, times: Array, duration: float) -> Array:
    """0 far from all of `times`, 1 at each: a body that falls on it, and rises again, [T, 1, 1].

    It moves fastest at the impact, and rests at its highest point, `duration` s away.
    """
    away = np.full_like(t, np.inf)
    for time in times:
        away = np.minimum(away, np.abs(t - time))
    near = 1 - np.minimum(away / duration, 1)
    return near * near


def glide(
    t: Array, times: Array, places: Array, before: float = 0.15, after: float = 0.08
) -> Array:
    """A place that rests at `places` [N] around `times` [N] and moves evenly in between.

    It rests from `before` seconds before each time to `after` seconds after it.
    """
    stops = np.stack([times - before, times + after], 1).ravel()
    return np.interp(t, np.maximum.accumulate(stops), np.repeat(places, 2))


def decay(t: Array, times: Array, seconds: float) -> Array:
    """Sum of exp(-age / seconds) over the events that have happened by `t`, [T, 1, 1]."""
    age = t - np.asarray(times, np.float64).reshape(1, 1, -1)
    return (np.exp(-np.maximum(age, 0) / seconds) * (age >= 0)).sum(-1, keepdims=True)


def swing(t: Array, times: Array, rate: float, seconds: float) -> Array:
    """Damped oscillations of `rate` Hz that begin at each of `times`, -1 to 1, [T, 1, 1]."""
    age = t - np.asarray(times, np.float64).reshape(1, 1, -1)
    wave = np.exp(-np.maximum(age, 0) / seconds) * np.sin(2 * np.pi * rate * age) * (age >= 0)
    return wave.sum(-1, keepdims=True)
