"""Spectrograms: time to the right, pitch upwards, louder is darker."""

from __future__ import annotations

import numpy as np
import pytest

from harmony_parts.display.pictures import spectrogram


def picture(samples: np.ndarray) -> np.ndarray:
    """Its darkness [height, width], 0 for paper; of 1 s at 8 kHz."""
    image = np.asarray(spectrogram(samples, 8000, 100, 50)).astype(int)
    assert image.shape == (50, 100, 3)
    return 255 - image.mean(-1)


@pytest.mark.parametrize("hertz", [120.0, 500.0, 2000.0])
def test_a_tone_is_dark_at_its_pitch_while_it_sounds(hertz: float) -> None:
    time = np.arange(8000) / 8000
    dark = picture(np.sin(2 * np.pi * hertz * time) * (time > 0.5))
    row = np.interp(np.log(hertz), np.log([80, 4000]), [49, 0])
    assert abs(int(dark[:, 75].argmax()) - row) < 2
    assert dark[:, 75].max() > 100
    assert dark[:, :45].max() == 0


@pytest.mark.parametrize("samples", [np.zeros(8000), np.zeros(0), np.zeros(3)])
def test_silence_is_white(samples: np.ndarray) -> None:
    assert picture(samples).max() == 0


def test_it_is_as_dark_for_a_softer_sound_of_the_same_kind() -> None:
    noise = np.random.default_rng(0).normal(size=8000)
    assert np.abs(picture(noise) - picture(0.5 * noise)).max() <= 1
