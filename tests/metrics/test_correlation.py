"""Correlation: known lags are recovered, and real clips give numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harmony_parts.av import Format
from harmony_parts.data.soundstage import Soundstage
from harmony_parts.media.clip import Clip
from harmony_parts.metrics.correlation import STEP, Correlation


@given(st.integers(0, 1000))
def test_lag_and_peak_are_those_of_a_parabola(seed: int) -> None:
    """Through the highest value and its neighbours, by a fit to products summed one by one."""
    rng = np.random.default_rng(seed)
    video = np.convolve(rng.normal(size=120), [1, 2, 3, 2, 1], mode="same")
    audio = np.roll(video, 3) + 0.7 * np.roll(video, 4) + rng.normal(size=120) / 9
    x, y = video - video.mean(), audio - audio.mean()
    lags = np.arange(-10, 11)
    sums = np.array([sum(x[i] * y[i + d] for i in range(120) if 0 <= i + d < 120) for d in lags])
    values = sums / np.sqrt((x**2).sum() * (y**2).sum())
    best = int(np.argmax(values))
    near = slice(best - 1, best + 2)
    a, b, c = np.polyfit(lags[near], values[near], 2)
    found = Correlation(reach=0.1).score(video, audio)
    assert found["lag_ms"] == pytest.approx(-b / (2 * a) * 10, abs=1e-6)
    assert found["correlation"] == pytest.approx(min(1, c - b**2 / (4 * a)), abs=1e-9)


@given(st.floats(-0.4, 0.4), st.integers(0, 1000), st.sampled_from(["rise", "level"]))
def test_lag_of_a_shifted_signal_is_recovered(shift: float, seed: int, sound: str) -> None:
    # Smooth bumps at random times, and the same bumps delayed by `shift`.
    rng = np.random.default_rng(seed)
    centres, t = rng.uniform(0.6, 3.4, 5), np.arange(400) * STEP
    signal = [np.exp(-(((t[:, None] - centres - d) / 0.06) ** 2)).sum(1) for d in (0.0, shift)]
    numbers = Correlation(sound=sound).score(signal[0], signal[1])
    assert numbers["lag_ms"] == pytest.approx(1000 * shift, abs=2)  # a fifth of a step
    # Up to a tenth of the time is shifted out, where the signal is 0: there the square of its mean
    # is lost, about 0.23 of its variance.
    assert numbers["correlation"] > 1 - 0.1 * 0.3


@given(st.integers(0, 1000), st.integers(1, 60), st.integers(1, 60))
def test_correlation_is_bounded_and_scale_free(seed: int, n: int, m: int) -> None:
    rng = np.random.default_rng(seed)
    video, audio = rng.random(n), rng.random(m)
    numbers = Correlation().score(video, audio)
    for name in ("correlation", "correlation_at_0"):
        assert -1 - 1e-9 <= numbers.get(name, 0) <= 1 + 1e-9
    assert abs(numbers.get("lag_ms", 0)) <= 500
    scaled = Correlation().score(3 * video + 1, 0.2 * audio)
    assert scaled == pytest.approx(numbers, abs=1e-6)


@pytest.mark.parametrize("shift", [-0.3, -0.13, 0.0, 0.07, 0.21])
def test_shifted_sound_of_soundstage_is_measured(shift: float) -> None:
    data = Soundstage(seed=9).build(
        format=Format(fps=12, height=16, width=16, sample_rate=8000, seconds=2.0)
    )
    metric, lags = Correlation(), []
    for i in range(18):
        clip = data.example(i).clip
        assert clip.waveform is not None
        n = round(shift * 8000)
        sound = torch.nn.functional.pad(clip.waveform, (n, -n))
        seen = metric.analyse(
            Clip(frames=clip.frames, fps=clip.fps, waveform=sound, sample_rate=8000)
        )
        lags.append(metric.score(seen["video"], seen["audio"])["lag_ms"])
    # The bound is a frame (83 ms) for a clip and a quarter of it for the median. Three events may
    # also match at another lag.
    assert abs(np.median(lags) - 1000 * shift) < 21
    assert np.mean(np.abs(np.array(lags) - 1000 * shift) < 83) >= 0.9


def flashes(rng: np.random.Generator, fps: int, decay: float, lag: float) -> tuple:
    """Frames [T, 1, 1, 3] of flashes that decay, averaged over exposures, and struck notes `lag` s
    after them [samples]: 4 s with 3 to 6 events.
    """
    times = np.cumsum(rng.uniform(0.35, 0.8, rng.integers(3, 7))) + 0.1
    times = times[times < 3.4]
    edges, t = np.arange(4 * fps + 1) / fps, np.arange(4 * 8000) / 8000
    light, sound = np.zeros(4 * fps), np.zeros(len(t))
    for time in times:
        since = np.maximum(edges - time, 0)
        light += rng.uniform(0.5, 1) * np.diff(decay * (1 - np.exp(-since / decay))) * fps
        since = np.maximum(t - time - lag, 0)
        note = np.exp(-since / 0.12) * np.sin(2 * np.pi * 440 * since)
        sound += rng.uniform(0.3, 0.5) * note
    frames = np.round(40 + 100 * light).clip(0, 255).astype(np.uint8)
    return frames[:, None, None, None].repeat(3, axis=3), sound


@pytest.mark.parametrize("fps", [12, 24, 30])
@pytest.mark.parametrize("decay", [0.01, 0.03, 0.09, 0.3, 1.0])
@pytest.mark.parametrize("lag", [-0.3, 0.0, 0.3])
def test_the_mean_lag_of_flashes_is_true_at_any_decay(fps: int, decay: float, lag: float) -> None:
    """Within 8 ms; of one clip it spreads by 12 ms at 12 frames/s, of the mean of 40 by 2 ms."""
    rng, metric, found = np.random.default_rng(1), Correlation(), []
    for _ in range(40):
        frames, sound = flashes(rng, fps, decay, lag)
        numbers = metric.score(metric.motion(frames, fps), metric.envelope(sound, 8000))
        found.append(numbers["lag_ms"] - 1000 * lag)
    print(f"{fps}/s, decay {decay} s, lag {lag} s: off by {np.mean(found):.1f} ms")
    assert abs(np.mean(found)) < 8


def test_steady_motion_is_not_delayed() -> None:
    """A bright bar that moves darkens as much as it brightens; a fade in has no decay."""
    frames = np.zeros((24, 1, 48, 3), np.uint8)
    for k in range(24):
        frames[k, :, 2 * k : 2 * k + 2] = 200
    motion = Correlation().motion(frames, 12.0)
    assert motion == pytest.approx(2 * 200 / 48 / 255, rel=1e-6)
    fade = np.arange(24, dtype=np.uint8)[:, None, None, None].repeat(3, axis=3)
    assert Correlation().motion(fade, 12.0) == pytest.approx(1 / 255)


def test_a_constant_stream_gives_no_number() -> None:
    constant = Clip(
        frames=torch.zeros(24, 8, 8, 3, dtype=torch.uint8),
        fps=12,
        waveform=torch.rand(1, 16000),
        sample_rate=8000,
    )
    seen = Correlation().analyse(constant)
    assert Correlation().score(seen["video"], seen["audio"]) == {}
    assert Correlation().score(np.zeros(0), np.zeros(0)) == {}


def test_it_says_why_there_is_no_number() -> None:
    """And nothing if there is one."""
    moving, still = np.random.default_rng(0).random((2, 50)), np.full(50, 0.1)
    for streams, why in (
        (moving, ""),
        ((still, moving[1]), "the motion is steady, or there is none"),
        ((moving[0], still), "the sound is steady, or there is none"),
        ((moving[0, :1], moving[1]), "the clip is too short"),
    ):
        assert Correlation().reason(*streams) == why
        assert (Correlation().score(*streams) == {}) == bool(why)


def test_real_clips_give_finite_numbers(clips: Path) -> None:
    paths = [path for path in sorted(clips.iterdir()) if path.suffix in (".mp4", ".mpg")][:4]
    for path in paths:
        clip = Clip.read(path, seconds=3.0, height=48)
        for sound in ("rise", "level"):
            metric = Correlation(sound=sound)
            seen = metric.analyse(clip)
            numbers = metric.score(seen["video"], seen["audio"])
            assert set(numbers) == {"correlation", "lag_ms", "correlation_at_0"}, path.name
            assert np.isfinite(list(numbers.values())).all(), path.name
            assert abs(numbers["lag_ms"]) <= 500, path.name
