"""Levels of sound in decibels below full scale."""

from __future__ import annotations

from torch import Tensor

QUIET = -120.0  # dBFS, of digital silence
WINDOW = 0.05  # s


def decibels(amplitude: Tensor) -> Tensor:
    """20 log10 of an amplitude, at least QUIET."""
    return (20 * amplitude.clamp(min=1e-12).log10()).clamp(min=QUIET)


def window_levels(waveform: Tensor, rate: int) -> Tensor:
    """dBFS [N] of the root mean square of all channels in consecutive windows of 50 ms.

    The samples after the last whole window are left out; a sound shorter than one is one window.
    """
    size = max(1, min(round(WINDOW * rate), waveform.shape[1]))
    windows = waveform.shape[1] // size
    pieces = waveform[:, : windows * size].reshape(len(waveform), windows, size)
    return decibels(pieces.square().mean(dim=(0, 2)).sqrt())
