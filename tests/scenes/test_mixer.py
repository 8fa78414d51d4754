"""Sounds and their places between left and right."""

from __future__ import annotations

import numpy as np
import pytest

from harmony_parts.scenes.mixer import PAN, Mixer


def right(mixer: Mixer) -> float:
    """The share of the sound that is on the right."""
    left, right = np.abs(mixer.sound()).sum(1)
    return float(right / (left + right))


def stereo() -> Mixer:
    return Mixer(80, 8000, np.random.default_rng(0), channels=2)


@pytest.mark.parametrize("x", [0.0, 0.3, 0.5, 1.0])
def test_a_sound_stands_where_it_is_seen(x: float) -> None:
    mixer = stereo()
    mixer.add(0.0, np.full(80, 0.1, np.float32), x)
    assert right(mixer) == pytest.approx(PAN[0] + (PAN[1] - PAN[0]) * x)


def test_a_sound_of_an_inset_stands_where_the_inset_is() -> None:
    """Also of an inset in an inset, with the gain of both; and in the same mix."""
    mixer = stereo()
    mixer.inset(0.5, 0.4, 0.5).inset(0.25, 0.5, 0.8).add(0.0, np.full(80, 0.1, np.float32), 0.5)
    x = 0.5 + 0.4 * (0.25 + 0.5 * 0.5)
    assert right(mixer) == pytest.approx(PAN[0] + (PAN[1] - PAN[0]) * x)
    assert mixer.sound().mean(0) == pytest.approx(np.full(80, 0.1 * 0.5 * 0.8))
