"""Soundstage: exact events and rendering, determined by (seed, index, format)."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from fractions import Fraction

import attrs
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harmony_parts.av import Format
from harmony_parts.data.protocol import Example
from harmony_parts.data.soundstage import Soundstage
from harmony_parts.scenes.ball import Ball
from harmony_parts.scenes.bar import Bar
from harmony_parts.scenes.hammer import Hammer
from harmony_parts.scenes.rhythm import FIRST, LAST, REST

SCENES = {"ball": Ball(), "bar": Bar(), "hammer": Hammer()}

SMALL = Format(fps=12, height=16, width=16, sample_rate=8000, seconds=2.0)
formats = st.builds(
    Format,
    fps=st.sampled_from([Fraction(8), Fraction(12), Fraction(24000, 1001), Fraction(25)]),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    sample_rate=st.sampled_from([4000, 8000, 16000, 22050]),
    seconds=st.floats(0.04, 4),
)
scenes = st.sampled_from(sorted(SCENES))


def example(scene: str, index: int, format: Format = SMALL, seed: int = 0) -> Example:
    return (
        Soundstage(scenes=(SCENES[scene],), seed=seed)
        .build(format=format)
        .example(index, torch.Generator())
    )


@given(formats, scenes, st.integers(0, 4095), st.integers(0, 2**40))
def test_any_format_gives_a_valid_and_reproducible_example(
    format: Format, scene: str, index: int, seed: int
) -> None:
    one = example(scene, index, format, seed)
    frames, sound = one.clip.frames, one.clip.waveform
    assert frames is not None
    assert frames.shape == (format.frames, format.height, format.width, 3)
    assert frames.dtype == torch.uint8
    assert sound is not None
    assert sound.shape == (1, format.samples(format.frames))
    assert sound.dtype == torch.float32
    assert sound.abs().max() <= 1
    assert one.prompt.voice is not None
    assert one.prompt.voice.shape == (1, format.sample_rate)
    assert one.prompt.image is not None
    assert torch.equal(one.prompt.image, frames[0])
    again = example(scene, index, format, seed)
    assert torch.equal(again.clip.frames, frames)
    assert torch.equal(again.clip.waveform, sound)
    assert again.events == one.events
    assert again.prompt.caption == one.prompt.caption
    assert again.name == one.name


@given(scenes, st.integers(0, 4095), st.floats(0.5, 6))
def test_events_keep_their_distance_and_lie_inside_the_clip(
    scene: str, index: int, seconds: float
) -> None:
    one = example(
        scene, index, Format(fps=100, height=2, width=2, sample_rate=1000, seconds=seconds)
    )
    assert one.events is not None
    times = np.array([event.time for event in one.events])
    assert len(times) >= 1
    assert (np.diff(times) >= REST - 1e-9).all()
    assert times[0] >= FIRST - 1e-9
    assert times[-1] <= one.clip.seconds - LAST + 1e-9


@given(scenes, st.integers(0, 4095))
def test_events_and_captions_do_not_depend_on_resolution(scene: str, index: int) -> None:
    small, large = (
        example(scene, index),
        example(scene, index, Format(fps=12, height=48, width=40, sample_rate=16000, seconds=2.0)),
    )
    assert small.events == large.events
    assert (small.prompt.caption, small.prompt.sound) == (large.prompt.caption, large.prompt.sound)


@given(scenes, st.integers(0, 4095), st.sampled_from([8000, 44100]))
def test_sound_begins_at_the_exact_sample(scene: str, index: int, rate: int) -> None:
    one = example(scene, index, Format(fps=12, height=1, width=1, sample_rate=rate, seconds=2.0))
    assert one.events is not None
    assert one.clip.waveform is not None
    sound = one.clip.waveform[0].abs()
    first = int(np.ceil(one.events[0].time * rate))
    assert (sound[:first] == 0).all()
    assert sound[first : first + rate // 500].max() > 0.02  # loud within 2 ms


@pytest.mark.parametrize("scene", sorted(SCENES))
def test_brightness_jumps_in_the_frame_of_each_event_or_the_next(scene: str) -> None:
    for index in range(20):
        one = example(scene, index)
        assert one.events is not None
        assert one.clip.frames is not None
        light = one.clip.frames.double().mean((1, 2, 3))
        for event in one.events:
            k = int(event.time * 12)
            last = min(k + 1, 23)
            assert light[last] > light[k - 1] + 5 or light[k] > light[k - 1] + 5, (one.name, event)


def test_event_times_are_independent_of_the_frame_grid_and_irregular() -> None:
    times = np.array(
        [
            e.time
            for scene in SCENES
            for i in range(120)
            for e in example(scene, i, Format(12, 1, 1, 1000, 2.0)).events or ()
        ]
    )
    # Of n random phases the mean vector has squared length 1/n on average; 7/n is exceeded with
    # probability exp(-7).
    assert abs(np.exp(2j * np.pi * 12 * times).mean()) ** 2 < 7 / len(times)
    hits = np.histogram(times, bins=8, range=(0.3, 1.8))[0]
    assert hits.max() < 2 * hits.min()


def test_two_seeds_share_no_event_time() -> None:
    first = {
        e.time
        for i in range(60)
        for e in Soundstage(seed=0).build(format=SMALL).example(i).events or ()
    }
    second = {
        e.time
        for i in range(60)
        for e in Soundstage(seed=1).build(format=SMALL).example(i).events or ()
    }
    assert len(first) > 100
    assert not first & second


def test_the_pitch_of_bars_rises_from_left_to_right() -> None:
    # The strongest frequency of the sound 20 to 150 ms after a strike grows with the bar's number.
    found: dict[str, list[float]] = {}
    for index in range(60):
        one = example("bar", index)
        assert one.events is not None
        assert one.clip.waveform is not None
        for event in one.events:
            start = int((event.time + 0.02) * 8000)
            spectrum = torch.fft.rfft(one.clip.waveform[0, start : start + 1040], 8192).abs()
            found.setdefault(event.what, []).append(float(spectrum.argmax()) * 8000 / 8192)
    medians = [float(np.median(found[bar])) for bar in sorted(found)]
    assert len(medians) == 4
    assert all(high > 1.2 * low for low, high in itertools.pairwise(medians)), medians


def test_the_voice_is_the_same_body_at_other_times() -> None:
    one = example("hammer", 3)
    assert one.clip.waveform is not None
    assert one.prompt.voice is not None
    a, b = (torch.fft.rfft(x, 16000).abs() for x in (one.clip.waveform[0], one.prompt.voice[0]))
    peaks = [float(s[1000:].argmax()) / 2 for s in (a, b)]  # Hz, above 500
    other = torch.fft.rfft(example("hammer", 4).prompt.voice[0], 16000).abs()
    assert abs(peaks[0] - peaks[1]) < 10
    assert abs(float(other[1000:].argmax()) / 2 - peaks[0]) > 10
    assert not torch.equal(one.clip.waveform[:, :8000], one.prompt.voice)


@pytest.mark.parametrize("scene", sorted(SCENES))
def test_a_mono_scene_is_the_mean_of_both_channels(scene: str) -> None:
    one, two = (example(scene, 3, attrs.evolve(SMALL, channels=n)) for n in (1, 2))
    for mono, stereo in (
        (one.clip.waveform, two.clip.waveform),
        (one.prompt.voice, two.prompt.voice),
    ):
        # sums of float32 below 1, in another order; louder samples are clipped in each channel
        loud = stereo.abs().amax(0) >= 1
        assert loud.float().mean() < 0.01
        mean = stereo.mean(0, keepdim=True)
        torch.testing.assert_close(mean[:, ~loud], mono[:, ~loud], rtol=0, atol=1e-6)
    assert torch.equal(two.clip.frames, one.clip.frames)


def test_faults_are_named() -> None:
    with pytest.raises(ValueError, match="scenes"):
        Soundstage(scenes=())
    with pytest.raises(IndexError, match="examples 0 to 9, not 10"):
        Soundstage(size=10).build(format=SMALL).example(10)


def test_held_out_cases_are_fifty_and_none_is_a_training_example() -> None:
    held_out = Soundstage(held_out=True, size=3).build(format=SMALL)
    assert len(held_out) == 50
    with pytest.raises(IndexError):
        held_out.example(50)
    cases = [held_out.example(i) for i in range(50)]
    assert len({case.name for case in cases}) == 50
    times = {event.time for case in cases for event in case.events or ()}
    training = Soundstage(size=300).build(format=SMALL)
    assert not times & {
        event.time for i in range(300) for event in training.example(i).events or ()
    }


@pytest.mark.parametrize("offset", [0.08, -0.08])
def test_an_offset_moves_the_sound_alone(offset: float) -> None:
    there, moved = (
        Soundstage(offset=shift).build(format=SMALL).example(4) for shift in (0.0, offset)
    )
    assert torch.equal(there.clip.frames, moved.clip.frames)
    assert there.events == moved.events
    assert moved.truth.offset == offset
    a, b = there.clip.waveform[0], moved.clip.waveform[0]
    late = round(abs(offset) * 8000)
    early, later = (a, b) if offset > 0 else (b, a)
    # Noise is drawn to the end of a sound, so a sound that the end cuts has other noise.
    length = round((there.events[0].time + 0.2) * 8000)
    assert early[:length].any()
    assert torch.equal(early[:length], later[late : late + length])


def test_left_and_right_are_the_mono_mix() -> None:
    """The mean of both is the mono mix, where nothing is clipped; a bar to the left is louder
    there.
    """
    stereo = attrs.evolve(SMALL, channels=2)
    for index in range(20):
        mono, both = (
            Soundstage(scenes=(Bar(),)).build(format=form).example(index)
            for form in (SMALL, stereo)
        )
        mix, sound = mono.clip.waveform[0], both.clip.waveform
        free = (sound.abs() < 1).all(0)
        # float32 in [-2, 2], a dozen sums
        assert (sound.mean(0) - mix)[free].abs().max() < 12 * 2**-23
        first = both.events[0]
        k = int((first.time + 0.002) * 8000)
        left, right = sound[:, k : k + 200].square().sum(1)
        if abs(first.place[0] - 0.5) > 0.01:
            assert (left > right) == (first.place[0] < 0.5)


@pytest.mark.slow
def test_other_processors_give_the_same_within_a_step(tmp_path) -> None:
    """numpy without its vector instructions draws and mixes the same to 1 of 255, 1 of 2^15."""
    script = (
        "import sys, numpy as np\n"
        "from harmony_parts.av import Format\n"
        "from harmony_parts.data.soundstage import Soundstage\n"
        "from harmony_parts.scenes.complex import Complex\n"
        "form = Format(fps=12, height=32, width=32, sample_rate=16000, seconds=2.0)\n"
        "data = Soundstage(scenes=(Complex(),)).build(format=form)\n"
        "clips = [data.example(i).clip for i in range(9)]\n"
        "np.savez(sys.argv[1], frames=[c.frames for c in clips], sound=[c.waveform for c in clips])"
    )
    found = []
    every = " ".join(np.show_config(mode="dicts")["SIMD Extensions"].get("found", []))
    for name, disabled in (("with", ""), ("without", every)):
        environment = {**os.environ, "NPY_DISABLE_CPU_FEATURES": disabled}
        path = tmp_path / f"{name}.npz"
        subprocess.run([sys.executable, "-c", script, path], env=environment, check=True)
        found.append(np.load(path))
    frames = [each["frames"].astype(int) for each in found]
    assert np.abs(frames[0] - frames[1]).max() <= 1
    assert np.abs(found[0]["sound"] - found[1]["sound"]).max() <= 2**-15


def test_a_folder_that_isnt_read_is_a_warning(tmp_path):
    """Whoever names a folder of clips expects that they are trained on."""
    form = Format(fps=12, height=16, width=16, sample_rate=8000, seconds=0.5)
    with pytest.warns(UserWarning, match="Soundstage is computed, so nothing of"):
        Soundstage().build(format=form, root=tmp_path)
