"""The class Clip: validation, duration, sound files and resampling."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchaudio.functional import resample

from harmony_parts.errors import MediaError
from harmony_parts.media.clip import Clip
from harmony_parts.media.waveform import _resample_directly
from harmony_parts.media.waveform import resample as resample_any

FRAMES = torch.zeros(3, 4, 6, 3, dtype=torch.uint8)
WAVE = torch.zeros(1, 10)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "frames, a waveform, or both"),
        ({"frames": FRAMES.float()}, r"frames must be .* not \[3, 4, 6, 3\] of torch.float32"),
        ({"frames": FRAMES.permute(0, 3, 1, 2)}, "frames must be"),
        ({"frames": FRAMES[:0]}, "frames must be"),
        ({"frames": "a.mp4"}, "a tensor or an array .*, not str"),
        ({"waveform": WAVE[0]}, r"waveform must be .* not \[10\]"),
        ({"waveform": WAVE.double()}, "float64"),
        ({"waveform": WAVE, "fps": 0}, "fps must be above 0"),
        ({"waveform": WAVE, "sample_rate": 0}, "sample_rate"),
        ({"waveform": WAVE, "sample_rate": 44100.0}, "sample_rate"),
    ],
)
def test_an_invalid_field_is_named(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Clip(**fields)  # type: ignore[arg-type]


def test_duration_and_mono() -> None:
    clip = Clip(FRAMES, "30000/1001", torch.tensor([[1.0, 0.0], [0.0, 0.5]]), 8000)
    assert clip.fps == Fraction(30000, 1001)
    assert clip.seconds == float(Fraction(3003, 30000))
    assert clip.mono().tolist() == [0.5, 0.25]
    assert Clip(waveform=torch.zeros(2, 441), sample_rate=44100).seconds == 0.01
    with pytest.raises(ValueError, match="no sound"):
        Clip(FRAMES).mono()


@given(
    samples=st.integers(1, 400),
    channels=st.integers(1, 3),
    rate=st.sampled_from([8000, 44100, 48000]),
    seed=st.integers(0, 99),
)
def test_wav_is_exact_and_flac_has_24_bits(
    samples: int, channels: int, rate: int, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    wave = torch.rand(channels, samples, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    folder = tmp_path_factory.getbasetemp()
    clip = Clip(waveform=wave, sample_rate=rate)
    again = Clip.read(clip.save(folder / "x.wav"))
    assert again.frames is None
    assert again.sample_rate == rate
    assert torch.equal(again.waveform, wave)
    # Half a step of 24 bits, at +1 a whole one, since the largest value is 1 - 2^-23.
    assert (Clip.read(clip.save(folder / "x.flac")).waveform - wave).abs().max() <= 2**-23


@given(start=st.integers(0, 300), length=st.integers(1, 300))
def test_a_part_of_a_wav_is_exact(
    start: int, length: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "part.wav"
    wave = torch.arange(256, dtype=torch.float32)[None] / 256
    Clip(waveform=wave, sample_rate=8000).save(path)
    part = Clip.read(path, start=Fraction(start, 8000), seconds=Fraction(length, 8000))
    assert torch.equal(part.waveform, wave[:, start : start + length])


@pytest.mark.parametrize(
    ("old", "new"), [(48000, 44100), (16000, 48000), (44100, 8000), (8000, 44100)]
)
def test_direct_resampling_equals_torchaudios(old: int, new: int) -> None:
    wave = torch.rand(2, 3001, generator=torch.Generator().manual_seed(1)) * 2 - 1
    direct, reference = _resample_directly(wave, old, new), resample(wave, old, new)
    assert direct.shape == reference.shape
    # torchaudio stores the tap positions, up to the period of the rates (441 samples), in float32:
    # off by 441 * 2^-24 of a sample. The slope of a full-scale signal is at most pi per sample, and
    # about twelve taps add up.
    assert (direct - reference).abs().max() < 12 * 3.2 * 441 * 2**-24


def test_rates_without_a_common_divisor_are_resampled_directly() -> None:
    time = torch.arange(48000) / 48000
    wave = torch.sin(2 * torch.pi * 440 * time)[None]
    resampled = resample_any(wave, 48000, 44101)
    assert resampled.shape == (1, 44101)
    expected = torch.sin(2 * torch.pi * 440 * torch.arange(44101) / 44101)
    # A Hann-windowed sinc of width 6 has a ripple below 1 %, away from the ends of the sound.
    assert (resampled[0] - expected)[100:-100].abs().max() < 0.01


def test_invalid_sound_files_are_neither_read_nor_written(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(b"RIFFnothing of the kind" * 20)
    with pytest.raises(MediaError, match=r"x\.wav: can't be read as media"):
        Clip.read(path)
    with pytest.raises(ValueError, match="finite"):
        Clip(waveform=torch.tensor([[float("nan")]])).save(tmp_path / "y.wav")
    with pytest.raises(MediaError, match="no sound"):
        Clip(FRAMES).save(tmp_path / "y.wav")
    assert [p.name for p in tmp_path.iterdir()] == ["x.wav"]
