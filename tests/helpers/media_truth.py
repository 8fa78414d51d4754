"""A clip with known event times: white flashes, and clicks at the same samples."""

from __future__ import annotations

from fractions import Fraction

import torch
from torch import Tensor

from harmony_parts.media.clip import Clip

FLASHES = (6, 15, 31, 42)  # no two gaps are equal, so that a shift is unambiguous


def flash_and_click(
    fps: Fraction = Fraction(24),
    sample_rate: int = 16000,
    frames: int = 48,
    size: tuple[int, int] = (48, 64),
    channels: int = 1,
) -> Clip:
    """White frames at FLASHES on grey, with decaying noise bursts of 20 ms at the same times."""
    height, width = size
    picture = torch.full((frames, height, width, 3), 60, dtype=torch.uint8)
    waveform = torch.zeros(channels, round(frames / fps * sample_rate))
    length = sample_rate // 50
    burst = (
        torch.randn(length, generator=torch.Generator().manual_seed(0))
        * torch.linspace(1, 0, length)
        * 0.25
    )
    for flash in FLASHES:
        picture[flash] = 255
        at = round(flash / fps * sample_rate)
        waveform[:, at : at + length] = burst
    return Clip(picture, fps, waveform, sample_rate)


def flashes(clip: Clip) -> tuple[int, ...]:
    """The indices of bright frames: their mean is above the middle of grey 60 and white 255."""
    assert clip.frames is not None
    return tuple(torch.nonzero(clip.frames.float().mean(dim=(1, 2, 3)) > 157).flatten().tolist())


def shift(sound: Tensor, truth: Tensor, sample_rate: int) -> float:
    """Seconds by which `sound` lags `truth`, both [samples], from their cross-correlation."""
    size = 2 * max(len(sound), len(truth))
    correlation = torch.fft.irfft(
        torch.fft.rfft(sound, size) * torch.fft.rfft(truth, size).conj(), size
    )
    lag = int(correlation.argmax())
    return (lag if lag < size // 2 else lag - size) / sample_rate
