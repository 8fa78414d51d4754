"""Events: the matching, and how well the detectors find the true events of Soundstage."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import combinations, permutations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harmony_parts.av import Event, Format
from harmony_parts.codecs.dct import DCTVideo
from harmony_parts.codecs.logmel import LogMel
from harmony_parts.data.protocol import Example
from harmony_parts.data.soundstage import Soundstage
from harmony_parts.media.clip import Clip
from harmony_parts.metrics.events import Events, match
from harmony_parts.scenes.ball import Ball
from harmony_parts.scenes.bar import Bar
from harmony_parts.scenes.hammer import Hammer

SCENES = {"ball": Ball(), "bar": Bar(), "hammer": Hammer()}

FORMAT = Format(fps=12, height=16, width=16, sample_rate=8000, seconds=2.0)
METRIC = Events()

# Times on a grid of 1/64 s, which floats represent exactly, so that distances are exact too.
times = st.lists(st.integers(0, 200), max_size=9, unique=True).map(
    lambda ks: np.array(sorted(ks)) / 64
)
tolerances = st.integers(0, 40).map(lambda k: k / 64)


@given(times, times, tolerances)
def test_matching_is_one_to_one_and_symmetric(
    a: np.ndarray, b: np.ndarray, tolerance: float
) -> None:
    pairs = match(a, b, tolerance)
    assert (
        len({i for i, _ in pairs})
        == len({j for _, j in pairs})
        == len(pairs)
        <= min(len(a), len(b))
    )
    assert all(abs(a[i] - b[j]) <= tolerance for i, j in pairs)
    back = match(b, a, tolerance)
    assert len(back) == len(pairs)
    assert sum(abs(a[i] - b[j]) for i, j in pairs) == sum(abs(b[i] - a[j]) for i, j in back)


@given(times, times, tolerances, tolerances)
def test_matching_grows_with_tolerance(
    a: np.ndarray, b: np.ndarray, one: float, two: float
) -> None:
    assert len(match(a, b, min(one, two))) <= len(match(a, b, max(one, two)))


@given(times, tolerances)
def test_matching_of_equals_is_the_identity(a: np.ndarray, tolerance: float) -> None:
    assert match(a, a, tolerance) == [(i, i) for i in range(len(a))]


short = st.lists(st.integers(0, 40), max_size=4, unique=True).map(
    lambda ks: np.array(sorted(ks)) / 64
)


@given(short, short, tolerances)
def test_matching_is_optimal(a: np.ndarray, b: np.ndarray, tolerance: float) -> None:
    def every() -> Iterator[tuple[int, float]]:
        for n in range(min(len(a), len(b)) + 1):
            for left in combinations(range(len(a)), n):
                for right in permutations(range(len(b)), n):
                    gaps = [abs(a[i] - b[j]) for i, j in zip(left, right, strict=True)]
                    if all(gap <= tolerance for gap in gaps):
                        yield -n, sum(gaps)

    pairs = match(a, b, tolerance)
    assert (-len(pairs), sum(abs(a[i] - b[j]) for i, j in pairs)) == min(every())


@given(times, times, times)
def test_numbers_are_bounded_and_consistent(
    a: np.ndarray, b: np.ndarray, truth: np.ndarray
) -> None:
    numbers = METRIC.score(a, b, [Event(float(t), "x") for t in truth])
    for name in ("video_matched", "audio_matched", "f1", "video_truth_f1", "audio_truth_f1"):
        assert 0 <= numbers.get(name, 0) <= 1
    assert ("video_matched" in numbers) == (len(a) > 0)
    assert ("audio_matched" in numbers) == (len(b) > 0)
    if "video_matched" in numbers and "audio_matched" in numbers:
        precision, recall = numbers["video_matched"], numbers["audio_matched"]
        harmonic = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
        assert numbers["f1"] == pytest.approx(harmonic)
    if "offset_ms" in numbers:
        most = 1000 * METRIC.tolerance + 1e-9
        assert 0 <= abs(numbers["offset_bias_ms"]) <= most
        assert 0 <= numbers["offset_ms"] <= most
    assert numbers["truth_events"] == len(truth)


def test_the_offset_is_positive_if_the_sound_is_late() -> None:
    numbers = METRIC.score(np.array([0.5, 1.0]), np.array([0.53, 1.05]))
    assert numbers["offset_bias_ms"] == pytest.approx(40)
    assert numbers["offset_ms"] == pytest.approx(40)
    assert METRIC.score(np.array([0.53, 1.05]), np.array([0.5, 1.0]))[
        "offset_bias_ms"
    ] == pytest.approx(-40)


def examples(scene: str, count: int = 40, format: Format = FORMAT) -> list[Example]:
    data = Soundstage(scenes=(SCENES[scene],), seed=1234).build(format=format)
    return [data.example(i) for i in range(count)]


def f1_and_offset(clips: list[Clip], truths: list[np.ndarray], stream: str) -> tuple[float, float]:
    """F1 against the truth, and the 95th percentile of |offset| in s."""
    hits, total, offsets = 0, 0, []
    for clip, truth in zip(clips, truths, strict=True):
        detected = METRIC.analyse(clip)[stream]
        pairs = match(detected, truth, 0.1)
        hits, total = hits + len(pairs), total + len(detected) + len(truth)
        offsets += [abs(detected[i] - truth[j]) for i, j in pairs]
    return 2 * hits / total, float(np.percentile(offsets, 95))


@pytest.mark.parametrize("scene", sorted(SCENES))
@pytest.mark.parametrize(
    "rates", [(12, 16, 8000), (24, 48, 16000), (Fraction(30000, 1001), 32, 44100)], ids=str
)
def test_events_of_rendered_clips_are_detected(
    scene: str, rates: tuple[Fraction, int, int]
) -> None:
    fps, size, rate = rates
    made = examples(scene, 40 if fps == 12 else 10, Format(fps, size, size, rate, 2.0))
    truths = [np.array([event.time for event in one.events or ()]) for one in made]
    clips = [one.clip for one in made]
    for stream, bound in (("video", 0.5 / float(fps)), ("audio", 0.005)):
        f1, late = f1_and_offset(clips, truths, stream)
        assert f1 >= 0.98, (stream, f1)
        assert late < bound, (stream, late)


@pytest.mark.parametrize("scene", sorted(SCENES))
def test_events_are_detected_after_the_codecs(scene: str) -> None:
    made = examples(scene, 8)
    truths = [np.array([event.time for event in one.events or ()]) for one in made]
    video, audio = (
        DCTVideo(keep=0).build(format=FORMAT),
        LogMel(bands=16, latents_per_second=30).build(format=FORMAT),
    )
    frames = torch.stack([one.clip.frames for one in made if one.clip.frames is not None])
    sound = torch.stack([one.clip.waveform for one in made if one.clip.waveform is not None])
    frames = video.decode(video.encode(frames))[:, : frames.shape[1]]
    sound = audio.decode(audio.encode(sound))[..., : sound.shape[2]]
    clips = [
        Clip(frames=f, fps=FORMAT.fps, waveform=w, sample_rate=8000)
        for f, w in zip(frames, sound, strict=True)
    ]
    for stream in ("video", "audio"):
        f1, _ = f1_and_offset(clips, truths, stream)
        assert f1 >= 0.95, (stream, f1)


@pytest.mark.parametrize("scene", sorted(SCENES))
def test_events_of_noisy_clips_are_detected(scene: str) -> None:
    generator = torch.Generator().manual_seed(0)
    made = examples(scene, 30)
    truths = [np.array([event.time for event in one.events or ()]) for one in made]
    clips = []
    for one in made:
        assert one.clip.frames is not None
        assert one.clip.waveform is not None
        x = one.clip.frames.float()
        # Half of the temporal contrast and noise of 12 grey levels per pixel; sound noise 30 dB
        # below full scale.
        x = 0.5 * x + 0.5 * x.mean(0, keepdim=True) + 12 * torch.randn(x.shape, generator=generator)
        w = one.clip.waveform + 0.03 * torch.randn(one.clip.waveform.shape, generator=generator)
        clips.append(
            Clip(frames=x.clamp(0, 255).byte(), fps=FORMAT.fps, waveform=w, sample_rate=8000)
        )
    for stream in ("video", "audio"):
        f1, _ = f1_and_offset(clips, truths, stream)
        assert f1 >= 0.95, (stream, f1)


def test_a_flash_in_the_second_frame_is_seen() -> None:
    """It is compared with the frame before it, not with itself."""
    light = np.array([0.1, 0.8, 1.0, 0.8, 0.6, 0.5, 0.4, 0.3])
    frames = np.broadcast_to((light * 255)[:, None, None, None], (8, 4, 4, 3))
    assert METRIC.flashes(frames, 12.0) == pytest.approx([1 / 12], abs=1 / 12)


def test_a_blank_silent_clip_has_no_events() -> None:
    blank = Clip(
        frames=torch.full((24, 16, 16, 3), 90, dtype=torch.uint8),
        fps=12,
        waveform=torch.zeros(1, 16000),
        sample_rate=8000,
    )
    assert [
        len(events) for events in (METRIC.analyse(blank)["video"], METRIC.analyse(blank)["audio"])
    ] == [0, 0]
    one_frame = Clip(
        frames=torch.zeros(1, 4, 4, 3, dtype=torch.uint8),
        fps=12,
        waveform=torch.zeros(1, 3),
        sample_rate=8000,
    )
    assert METRIC.score(METRIC.analyse(one_frame)["video"], METRIC.analyse(one_frame)["audio"]) == {
        "video_events": 0,
        "audio_events": 0,
        "matched": 0,
    }


@given(times, times)
def test_it_says_why_there_is_no_offset(a: np.ndarray, b: np.ndarray) -> None:
    """And nothing if there is one."""
    why = METRIC.reason(a, b)
    assert ("offset_ms" in METRIC.score(a, b)) == (why == "")
    assert ("no event is" in why) == (why != "")
    assert ("seen or heard" in why) == (len(a) + len(b) == 0)
    assert ("no event is seen" in why) == (len(a) == 0)
    assert ("within 0.1 s of a seen one" in why) == (why != "" and len(a) > 0 < len(b))


def test_noise_has_few_events() -> None:
    generator = torch.Generator().manual_seed(0)
    counts = np.zeros(2)
    for _ in range(40):
        frames = torch.randint(0, 256, (24, 16, 16, 3), generator=generator, dtype=torch.uint8)
        seen = METRIC.analyse(
            Clip(
                frames=frames,
                fps=12,
                waveform=0.2 * torch.randn(1, 16000, generator=generator),
                sample_rate=8000,
            )
        )
        counts += [len(seen["video"]), len(seen["audio"])]
    # Soundstage has about 2.7 per clip. Noise of full range on so few pixels is the worst case: the
    # mean brightness flickers by 0.015.
    assert counts[0] / 40 < 2.7 / 1.5
    assert counts[1] == 0


def test_an_absent_stream_stays_absent() -> None:
    silent = Clip(frames=torch.zeros(24, 8, 8, 3, dtype=torch.uint8), fps=12)
    assert tuple(METRIC.analyse(silent)) == ("video",)
