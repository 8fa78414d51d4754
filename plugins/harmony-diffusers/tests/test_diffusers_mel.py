"""Mel spectra against their formula in float64, diffusers and torchaudio."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from harmony_diffusers.mel import MelSpectrum


def slaney(sample_rate: int, window: int, bands: int) -> np.ndarray:
    """librosa's filters by definition: triangles of area 1, evenly spaced in Slaney's mel.

    The scale is linear to 1 kHz, then has 27 steps per factor of 6.4.
    """

    def hertz(mel: np.ndarray) -> np.ndarray:
        return np.where(mel < 15, mel * 200 / 3, 1000 * 6.4 ** ((mel - 15) / 27))

    top = 15 + 27 * math.log(sample_rate / 2 / 1000) / math.log(6.4)
    corner = hertz(np.linspace(0, top, bands + 2))
    frequency = np.arange(window // 2 + 1) * sample_rate / window
    rising = (frequency - corner[:-2, None]) / np.diff(corner)[:-1, None]
    falling = (corner[2:, None] - frequency) / np.diff(corner)[1:, None]
    return np.maximum(0, np.minimum(rising, falling)) * (2 / (corner[2:] - corner[:-2]))[:, None]


def spectrum(
    sound: np.ndarray,
    sample_rate: int,
    window: int,
    hop: int,
    bands: int,
    margin: int,
    power: float,
) -> np.ndarray:
    """ln max(M sqrt(|X|^2 + power), 1e-5), [bands, frames], in float64."""
    mirrored = np.pad(sound, margin, mode="reflect")
    starts = range(0, len(mirrored) - window + 1, hop)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    magnitude = np.stack(
        [
            np.sqrt(np.abs(np.fft.rfft(mirrored[n : n + window] * hann)) ** 2 + power)
            for n in starts
        ],
        axis=1,
    )
    return np.log(np.maximum(slaney(sample_rate, window, bands) @ magnitude, 1e-5))


@pytest.mark.parametrize(
    ("sample_rate", "window", "hop", "bands", "margin", "power"),
    [
        (16000, 1024, 256, 80, 384, 1e-9),
        (44100, 2048, 512, 128, 768, 1e-9),
        (16000, 1024, 160, 64, 512, 0.0),
    ],
    ids=["MMAudio 16k", "MMAudio 44k", "LTX-2"],
)
def test_spectra_follow_the_formula(sample_rate, window, hop, bands, margin, power):
    """Loud, faint and mute sound. Band edges are float32: off by 22 kHz x 2^-23 = 0.003 Hz, which
    is 1e-4 of a band of 40 Hz.
    """
    random = np.random.default_rng(0)
    sound = (
        random.uniform(-1, 1, sample_rate // 4)
        * np.repeat([1, 0.01, 0, 0.3, 1], -(-sample_rate // 20))[: sample_rate // 4]
    )
    sound = sound.astype(np.float32)
    made = MelSpectrum(sample_rate, window, hop, bands, margin=margin, power=power)(
        torch.from_numpy(sound)[None]
    )[0]
    wanted = spectrum(sound.astype(np.float64), sample_rate, window, hop, bands, margin, power)
    assert made.shape == wanted.shape
    assert np.abs(made.double().numpy() - wanted).max() < 1e-4


def test_mmaudio_spectra_equal_diffusers():
    """The front end of diffusers' autoencoder for 44.1 kHz."""
    from diffusers.models.autoencoders.autoencoder_mmaudio import MMAudioMelSpectrogram

    sound = torch.rand(2, 20480, generator=torch.Generator().manual_seed(0)) * 2 - 1
    direct = MMAudioMelSpectrogram(44100, 2048, 128, 512)(sound)
    assert torch.allclose(
        MelSpectrum(44100, 2048, 512, 128, margin=768, power=1e-9)(sound), direct, atol=1e-4
    )


def test_ltx2_spectra_equal_torchaudios():
    """With the settings that others use to encode sound for LTX-2."""
    from torchaudio.transforms import MelSpectrogram

    sound = torch.rand(2, 8000, generator=torch.Generator().manual_seed(0)) * 2 - 1
    direct = MelSpectrogram(
        16000, n_fft=1024, hop_length=160, n_mels=64, power=1.0, norm="slaney", mel_scale="slaney"
    )(sound)
    made = MelSpectrum(16000, 1024, 160, 64, margin=512, power=0.0)(sound)
    assert torch.allclose(made, direct.clamp(min=1e-5).log(), atol=1e-5)
