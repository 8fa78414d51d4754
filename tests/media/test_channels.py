"""Channels of sound: how many a clip gets, and that files keep left and right."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harmony_parts.errors import MediaError
from harmony_parts.media.clip import Clip
from harmony_parts.media.waveform import resample, to_channels

RATE = 48000


def tones(samples: int = RATE) -> torch.Tensor:
    """A low tone on the left, a higher and weaker one on the right, [2, samples]."""
    time = torch.arange(samples) / RATE
    return torch.stack(
        [0.5 * torch.sin(2 * math.pi * 440 * time), 0.1 * torch.sin(2 * math.pi * 1760 * time)]
    )


@given(channels=st.integers(1, 8), wanted=st.integers(1, 8), seed=st.integers(0, 99))
def test_each_number_of_channels_has_one_rule(channels: int, wanted: int, seed: int) -> None:
    """The same, a mean, copies, 5.1 to stereo; no other."""
    wave = torch.rand(channels, 9, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    if channels == wanted:
        assert to_channels(wave, wanted) is wave
    elif wanted == 1:
        made = to_channels(wave, 1)
        assert made.shape == (1, 9)
        assert torch.equal(made[0], Clip(waveform=wave).mono())
    elif channels == 1:
        assert torch.equal(to_channels(wave, wanted), torch.cat([wave] * wanted))
    elif (channels, wanted) == (6, 2):
        made = to_channels(wave, 2)
        assert made.abs().max() <= 1
        # exchanging the sides exchanges the result
        assert torch.equal(to_channels(wave[[1, 0, 2, 3, 5, 4]], 2), made.flip(0))
    else:
        with pytest.raises(ValueError, match=f"of {channels} channels can't become {wanted}: mix"):
            to_channels(wave, wanted)


def test_five_point_one_becomes_stereo_by_bs_775() -> None:
    """The weights of each input channel: front 1, centre and surround sqrt(1/2), LFE none."""
    third = math.sqrt(0.5)
    expected = torch.tensor([[1, 0, third, 0, third, 0], [0, 1, third, 0, 0, third]])
    made = to_channels(torch.eye(6), 2)
    torch.testing.assert_close(made, expected / (1 + 2 * third))


def test_a_copy_of_a_mono_channel_can_be_written_into() -> None:
    made = to_channels(torch.zeros(1, 4), 2)
    made[0] = 1
    assert made[1].abs().max() == 0


@pytest.mark.parametrize("name", ["x.mp4", "x.webm", "x.mkv", "x.wav", "x.flac"])
def test_files_keep_left_and_right(name: str, tmp_path: Path) -> None:
    """Levels within 0.2 dB in AAC and Opus, and exactly or to 24 bits elsewhere."""
    frames = None if name in ("x.wav", "x.flac") else torch.zeros(24, 16, 16, 3, dtype=torch.uint8)
    check_tones(Clip(frames, 24, tones(), RATE).save(tmp_path / name))


def check_tones(path: Path) -> None:
    """Left and right of the file are `tones`."""
    made = Clip.read(path).waveform
    assert made is not None
    assert made.shape == (2, RATE)
    middle = slice(RATE // 4, 3 * RATE // 4)
    for side, tone in enumerate((440, 1760)):
        spectrum = torch.fft.rfft(made[side, middle]).abs()
        assert int(spectrum.argmax()) * RATE / (RATE // 2) == tone
        level = made[side, middle].square().mean() / tones()[side, middle].square().mean()
        assert abs(10 * math.log10(float(level))) < 0.2


@pytest.mark.parametrize("given", ["x.mp4", "x.webm", "x.mkv", "x.wav"])
def test_a_copied_sound_keeps_left_and_right(given: str, tmp_path: Path) -> None:
    """AAC and Opus as they are, FLAC and WAV decoded by ffmpeg and by soundfile."""
    frames = torch.zeros(24, 16, 16, 3, dtype=torch.uint8)
    picture = None if given == "x.wav" else frames
    path = Clip(picture, 24, tones(), RATE).save(tmp_path / given)
    check_tones(Clip(frames, 24, None).save(tmp_path / "y.mp4", copy_sound_from=path))


def test_sides_are_resampled_each_by_itself(tmp_path: Path) -> None:
    """On reading, also between rates without a large common divisor."""
    path = Clip(waveform=tones(6000), sample_rate=RATE).save(tmp_path / "x.wav")
    for rate in (16000, 44101):
        found = Clip.read(path, sample_rate=rate).waveform
        assert found is not None
        for side, tone in enumerate(tones(6000)):
            alone = resample(tone[None], RATE, rate)
            torch.testing.assert_close(found[side : side + 1], alone, rtol=0, atol=1e-6)


@pytest.mark.parametrize("streams", [None, {"audio"}])
@pytest.mark.parametrize("name", ["x.mkv", "x.wav"])
def test_clips_are_read_with_the_wanted_channels(
    name: str, streams: set[str] | None, tmp_path: Path
) -> None:
    frames = torch.zeros(24, 16, 16, 3, dtype=torch.uint8) if name == "x.mkv" else None
    path = Clip(frames, 24, tones(), RATE).save(tmp_path / name)
    whole, mono = (Clip.read(path, streams=streams, channels=n) for n in (None, 1))
    assert whole.waveform is not None
    assert mono.waveform is not None
    assert torch.equal(mono.waveform, whole.waveform.mean(0, keepdim=True))
    assert torch.equal(Clip.read(path, streams=streams, channels=2).waveform, whole.waveform)
    with pytest.raises(MediaError, match=rf"{name}: sound of 2 channels can't become 3: mix it"):
        Clip.read(path, streams=streams, channels=3)
    with pytest.raises(ValueError, match="channels must be above 0"):
        Clip.read(path, channels=0)


def test_only_a_clip_with_sound_has_channels() -> None:
    clip = Clip(torch.zeros(1, 2, 2, 3, dtype=torch.uint8), 24, torch.zeros(1, 3), 8000)
    assert clip.with_channels(2).waveform.shape == (2, 3)
    assert clip.with_channels(2).frames is clip.frames
    with pytest.raises(ValueError, match="no sound"):
        Clip(clip.frames).with_channels(2)
