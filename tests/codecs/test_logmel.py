"""The log-mel codec: events keep their time, and silence and loudness are preserved."""

from __future__ import annotations

import itertools
import math

import attrs
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from harmony_parts.av import Format
from harmony_parts.codecs.logmel import LogMel, LogMelCodec, _covering, _overlap_add
from harmony_parts.codecs.protocol import AudioCodec
from harmony_parts.media.clip import Clip

SMALL = LogMel(latents_per_second=30.0, hops_per_latent=2, bands=16, overlap=3)


def built(spec: LogMel, sample_rate: int = 16_000) -> LogMelCodec:
    return spec.build(
        format=Format(fps=25, height=64, width=64, sample_rate=sample_rate, seconds=2.0)
    )


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def decibels(sound: Tensor) -> float:
    return 10 * math.log10(float(sound.square().mean()) + 1e-20)


rates = st.sampled_from([21.533, 25.0, 29.97, 30.0, 31.25, 50.0])
sample_rates = st.sampled_from([8_000, 16_000, 22_050])


@given(rates, sample_rates, st.integers(1, 4), st.integers(1, 5_000))
def test_counts_and_clock_agree(rate: float, sample_rate: int, hops: int, count: int) -> None:
    codec = built(LogMel(latents_per_second=rate, hops_per_latent=hops, bands=5), sample_rate)
    assert isinstance(codec, AudioCodec)
    latents = codec.latents(count)
    assert codec.samples(latents) >= count
    assert codec.samples(latents - 1) < count
    clock = codec.clock(latents)
    expected = torch.arange(latents + 1, dtype=torch.float64) / rate
    torch.testing.assert_close(
        clock, torch.stack([expected[:-1], expected[1:]], 1), rtol=1e-12, atol=0
    )
    encoded = codec.encode(noise(2, 1, count))
    assert encoded.shape == (2, latents, hops * 5)
    assert encoded.isfinite().all()
    assert abs(codec.samples(latents) - float(clock[-1, 1]) * sample_rate) <= 1


@settings(max_examples=12)
@given(rates, sample_rates, st.integers(1, 4), st.integers(1, 2_000))
def test_mute_is_one_value_and_decodes_to_silence(
    rate: float, sample_rate: int, hops: int, count: int
) -> None:
    codec = built(LogMel(latents_per_second=rate, hops_per_latent=hops, bands=12), sample_rate)
    latents = codec.encode(torch.zeros(1, 1, count))
    assert latents.min() == latents.max()
    assert not latents.equal(codec.encode(0.1 * noise(1, 1, count)))
    decoded = codec.decode(latents)
    assert decoded.shape == (1, 1, codec.samples(codec.latents(count)))
    assert decoded.abs().max() < 1e-4  # -80 dB


@settings(max_examples=25)
@given(
    st.sampled_from([(LogMel(), 16_000), (SMALL, 16_000), (SMALL, 8_000)]), st.floats(0.02, 0.98)
)
def test_a_click_is_in_the_latent_of_its_time_and_is_decoded_at_that_time(
    case: tuple[LogMel, int], when: float
) -> None:
    spec, sample_rate = case
    codec = built(spec, sample_rate)
    sound = torch.zeros(1, 1, sample_rate)
    place = int(when * sample_rate)
    sound[..., place] = 0.9
    latents = codec.encode(sound)
    # At a border between two latents, half a sample is rounding.
    loudest = int(latents.amax(2).argmax())
    start, end = codec.clock(latents.shape[1])[loudest].tolist()
    assert start - 1 / sample_rate <= place / sample_rate <= end + 1 / sample_rate
    decoded = codec.decode(latents)[0, 0]
    power = decoded.square()
    centre = float((power * torch.arange(len(power))).sum() / power.sum()) / sample_rate
    frame = 1 / (spec.latents_per_second * spec.hops_per_latent)
    assert abs(int(power.argmax()) / sample_rate - when) < min(frame, 0.010)
    assert abs(centre - when) < min(frame, 0.010)


def test_a_shift_by_whole_latents_shifts_the_latents() -> None:
    codec = built(LogMel())
    sound = 0.1 * noise(1, 1, 512 * 20)
    a, b = codec.encode(sound), codec.encode(sound[..., 512 * 3 :])
    torch.testing.assert_close(a[:, 4:-1], b[:, 1:-1], rtol=0, atol=1e-4)


def test_decoding_is_deterministic_and_independent_of_the_batch() -> None:
    codec = built(SMALL)
    latents = codec.encode(0.1 * noise(3, 1, 8_000))
    state = torch.random.get_rng_state()
    first, again = codec.decode(latents), codec.decode(latents)
    assert torch.equal(first, again)
    assert torch.equal(torch.random.get_rng_state(), state)
    # A batch sums in another order, and 40 iterations amplify the rounding.
    torch.testing.assert_close(codec.decode(latents[1:2]), first[1:2], rtol=0, atol=2e-3)
    other = built(LogMel(latents_per_second=30.0, hops_per_latent=2, bands=16, overlap=3, seed=1))
    assert not torch.allclose(other.decode(latents), first, atol=1e-2)


@settings(max_examples=12)
@given(
    st.sampled_from([LogMel(), SMALL]),
    st.floats(-45, -12),
    st.sampled_from([0.0, 110.0, 440.0, 3000.0]),
)
def test_loudness_and_pitch_are_preserved(spec: LogMel, level: float, pitch: float) -> None:
    codec = built(spec)
    time = torch.arange(16_000) / 16_000
    sound = torch.sin(2 * math.pi * pitch * time) if pitch else noise(16_000)
    sound = sound * 10 ** ((level - decibels(sound)) / 20)
    latents = codec.encode(sound[None, None])
    decoded = codec.decode(latents)[0, 0, :16_000]
    assert abs(decibels(decoded) - level) < 2
    if pitch:
        loudest = int(torch.fft.rfft(decoded).abs().argmax())
        # The resolution is that of the bands (a quarter of an octave with 64 of them, an octave
        # with 16), or that of the window.
        resolution = spec.latents_per_second * spec.hops_per_latent / spec.overlap
        assert (
            abs(math.log2(loudest / pitch)) < (0.25 if spec.bands == 64 else 1.0)
            or abs(loudest - pitch) < resolution
        )


def test_the_energies_of_the_bands_sum_to_that_of_the_sound() -> None:
    spec = LogMel(fmin=0.0)
    codec = built(spec)
    sound = 0.1 * noise(1, 1, 64_000)
    level = codec.encode(sound) * 17 - 48
    # the mean over bands, each normalised as if all bands were as loud
    total = (10 ** (level / 10) - 10 ** (spec.floor_db / 10)).mean()
    # Below the first band's centre (about 20 Hz of 8000) and above the last one's (350 Hz) at most
    # 3 % is lost.
    assert abs(10 * math.log10(float(total)) - decibels(sound)) < 0.2


def test_a_pause_stays_silent() -> None:
    for spec in (LogMel(), SMALL):
        codec = built(spec)
        sound = 0.1 * noise(1, 1, 32_000)
        sound[..., 10_000:22_000] = 0
        decoded = codec.decode(codec.encode(sound))[..., :32_000]
        # a window
        reach = round(16_000 * spec.overlap / (spec.latents_per_second * spec.hops_per_latent))
        assert decibels(decoded[..., 10_000 + reach : 22_000 - reach]) < -80
        assert decibels(decoded[..., :10_000]) > -22


def test_any_latents_decode_to_finite_samples_in_range() -> None:
    codec = built(SMALL)
    for scale in (0.0, 1.0, 30.0):
        decoded = codec.decode(scale * noise(1, 30, codec.channels))
        assert decoded.isfinite().all()
        assert decoded.abs().max() <= 1


def test_errors_name_the_wrong_setting_or_shape() -> None:
    with pytest.raises(ValueError, match=r"fmax 9000\.0 <= 8000\.0 Hz"):
        built(LogMel(fmax=9000.0))
    with pytest.raises(ValueError, match="fewer than 8 samples per frame at 16000 Hz"):
        built(LogMel(latents_per_second=1000.0))
    codec = built(SMALL)
    with pytest.raises(ValueError, match=r"\[B, 1, samples\], .* not torch.float32 \[1, 8\]"):
        codec.encode(torch.zeros(1, 8))
    with pytest.raises(ValueError, match=r"not torch.float32 \[1, 2, 8\]"):
        codec.encode(torch.zeros(1, 2, 8))
    with pytest.raises(ValueError, match="at least one sample"):
        codec.encode(torch.zeros(1, 1, 0))
    with pytest.raises(ValueError, match=r"\[B, T, 32\] with T >= 1, not \[1, 4, 31\]"):
        codec.decode(torch.zeros(1, 4, 31))


def rise(sound: Tensor, sample_rate: int) -> Tensor:
    """Rise of the level within 20 ms, in dB, mean over six octave bands, every 2.5 ms."""
    hop, window = sample_rate // 400, torch.hann_window(sample_rate // 50)
    frames = (
        torch.nn.functional.pad(sound, (len(window) // 2, len(window) // 2)).unfold(
            0, len(window), hop
        )
        * window
    )
    power = torch.fft.rfft(frames).abs().square()
    edges = [
        0,
        *(round(f * len(window) / sample_rate) for f in (200, 400, 800, 1600, 3200)),
        power.shape[1],
    ]
    level = torch.stack([power[:, a:b].sum(1) for a, b in itertools.pairwise(edges)], dim=1)
    level = 10 * torch.log10(level + 1e-4 * level.max())
    return torch.nn.functional.pad((level[8:] - level[:-8]).clamp(min=0).mean(1), (4, 4))


def peaks(curve: Tensor, above: float) -> list[int]:
    """Indices of local maxima within 50 ms that are above a threshold."""
    largest = torch.nn.functional.max_pool1d(curve[None], 41, 1, 20)[0]
    return ((curve == largest) & (curve > above)).nonzero().flatten().tolist()


def shift(a: Tensor, b: Tensor, place: int) -> float:
    """The shift in s, within 60 ms, that best aligns the 100 ms of `a` around `place` with `b`."""
    a, b = (torch.nn.functional.pad(curve, (44, 44)) for curve in (a, b))
    piece, windows = a[place + 24 : place + 65], b[place : place + 89].unfold(0, 41, 1)
    likeness = windows @ piece / (windows.norm(dim=1) * piece.norm() + 1e-9)
    return (int(likeness.argmax()) - 24) / 400


def test_real_clips_keep_their_onset_times_and_loudness(real: dict[str, Clip]) -> None:
    # A strong onset rises 6 dB in 20 ms. The peak of a slow attack may wander along its slope, so
    # the largest shift is measured on the curve around the onset.
    for spec, sample_rate in ((LogMel(), 16_000), (SMALL, 16_000)):
        codec = built(spec, sample_rate)
        moved, nearest, scales = [], [], []
        for name, clip in real.items():
            sound = clip.mono()
            latents = codec.encode(sound[None, None])
            decoded = codec.decode(latents)[0, 0, : len(sound)]
            assert abs(decibels(decoded) - decibels(sound)) < 2, name
            scales.append(torch.stack([latents.mean(), latents.square().mean()]))
            a, b = rise(sound, sample_rate), rise(decoded, sample_rate)
            found = torch.tensor(peaks(b, 3.0), dtype=torch.float64)
            strong = peaks(a, 6.0)
            assert strong, name
            moved += [abs(shift(a, b, place)) for place in strong]
            nearest += [float((found - place).abs().min()) / 400 for place in strong]
        at, off = torch.tensor(moved), torch.tensor(nearest)
        matched = off[off < 0.05]
        for what, values in ((f"{len(at)} onsets", at), (f"{len(matched)} matched peaks", matched)):
            largest = (
                f"{values.median():.4f} (median) {values.quantile(0.95):.4f} (95 %)"
                f" {values.max():.4f} s (largest)"
            )
            print(f"{spec.bands} bands: {what} moved by {largest}")
        assert at.max() <= 0.020
        assert len(matched) >= 0.95 * len(off)
        assert matched.median() <= 0.005
        assert matched.quantile(0.95) <= 0.020
        mean, square = torch.stack(scales).mean(0)
        assert abs(mean) < 0.75
        assert 0.6 < square.sqrt() < 1.5


def test_each_channel_is_coded_as_mono() -> None:
    """A latent has the left channel's numbers, then the right one's."""
    mono = built(SMALL)
    format = attrs.evolve(mono.format, channels=2)
    stereo = SMALL.build(format=format)
    sound = 0.1 * noise(2, 2, 8_000) * torch.tensor([1.0, 0.1])[:, None]
    latents = stereo.encode(sound)
    assert latents.shape == (2, 15, 2 * mono.channels)
    decoded = stereo.decode(latents)
    assert decoded.shape == (2, 2, mono.samples(15))
    for side, of_side in enumerate(latents.split(mono.channels, dim=2)):
        alone = mono.encode(sound[:, side : side + 1])
        torch.testing.assert_close(of_side, alone, rtol=0, atol=1e-4)
        # Batches of other sizes sum in another order, which 40 iterations amplify.
        torch.testing.assert_close(
            decoded[:, side : side + 1], mono.decode(of_side), rtol=0, atol=2e-3
        )
    equal = stereo.decode(torch.cat([alone, alone], dim=2))
    torch.testing.assert_close(equal[:, 0], equal[:, 1], rtol=0, atol=2e-3)


@given(rates, st.integers(1, 4), st.integers(1, 5), st.integers(2, 5))
def test_frames_are_added_in_their_order(rate: float, hops: int, count: int, overlap: int) -> None:
    """Bit for bit the sum that `index_add` makes on a CPU, one frame after the other."""
    codec = built(LogMel(rate, hops_per_latent=hops, bands=5, overlap=overlap))
    places = codec._places(count, more=1)
    places = places - places.min()
    length = int(places.max()) + 1
    frames = noise(2, *places.shape)
    expected = torch.zeros(2, length)
    for one, at in enumerate(places):
        expected[:, at] += frames[:, one]
    assert torch.equal(_overlap_add(frames, _covering(places, length)), expected)


def test_no_sum_is_atomic_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch refuses operators without a fixed order there, if asked; here they are refused by
    name.
    """

    def refused(*args: object, **more: object) -> None:
        raise AssertionError("atomic on a GPU")

    for name in ("index_add", "index_add_", "scatter_add", "scatter_add_"):
        monkeypatch.setattr(Tensor, name, refused)
    codec = built(SMALL)
    codec.decode(codec.encode(noise(1, 1, 3_000)))
