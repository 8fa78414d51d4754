"""Filters: each drops what it should, and keeps what it should."""

from __future__ import annotations

from fractions import Fraction

import attrs
import pytest
import torch

from harmony_parts.av import Format, Prompt
from harmony_parts.data.protocol import Example
from harmony_parts.data.soundstage import Soundstage
from harmony_parts.filters.length import Length
from harmony_parts.filters.levels import window_levels
from harmony_parts.filters.metric import MetricRange
from harmony_parts.filters.protocol import FilterSpec
from harmony_parts.filters.scene_cut import SceneCut
from harmony_parts.filters.silence import Silence
from harmony_parts.filters.sound import SoundPresent
from harmony_parts.media.clip import Clip
from harmony_parts.scenes.talk import Talk
from harmony_parts.testing.contracts.filters import check_filter

FORM = Format(fps=12, height=64, width=64, sample_rate=8000, seconds=2.0)


def world(i: int = 0, **settings: object) -> Example:
    return Soundstage(**settings).build(format=FORM).example(i)  # type: ignore[arg-type]


def sound(waveform: torch.Tensor) -> Example:
    clip = Clip(None, Fraction(12), waveform, 8000)
    return Example("sound", clip, Prompt())


def fault(spec: FilterSpec, example: Example) -> str | None:
    built = spec.build()
    features = built.analyse(example)
    return built.fault(features.video, features.audio)


@pytest.mark.parametrize(
    "spec", [SoundPresent(), Silence(), Length(shortest=1.0), SceneCut(), MetricRange(lowest=0.1)]
)
def test_contract(spec: FilterSpec) -> None:
    check_filter(spec)


def test_sound_below_a_level_is_no_sound() -> None:
    """-60 dBFS is an amplitude of 1/1000."""
    click = torch.zeros(1, 8000)
    click[0, 50] = 0.0011
    assert fault(SoundPresent(), sound(click)) is None
    assert fault(SoundPresent(), sound(click / 1.2)) == "is below -60 dBFS throughout"
    assert fault(SoundPresent(), attrs.evolve(world(), clip=Clip(world().clip.frames))) == (
        "has no sound"
    )


def test_the_level_of_a_window_is_that_of_all_channels() -> None:
    """A full-scale side and a silent one have half the power of two such sides: 3 dB less."""
    one = torch.zeros(2, 800)
    one[1] = 1
    both = window_levels(torch.ones(2, 800), 8000)
    assert both.tolist() == [0, 0]
    for sound_ in (one, one.flip(0)):
        assert window_levels(sound_, 8000).tolist() == pytest.approx([-3.0103, -3.0103])


@pytest.mark.parametrize(("loud", "kept"), [(0.15, False), (0.25, True)])
def test_silence_is_a_share_of_the_time(loud: float, kept: bool) -> None:
    waveform = torch.zeros(1, 16000)
    waveform[:, : round(loud * 16000)] = 0.1
    why = fault(Silence(share=0.8), sound(waveform))
    assert why == (None if kept else "is silent for more than 80%")


def test_the_recording_counts_and_not_the_clip() -> None:
    """A short file is filled up to the clip's length."""
    spec = Length(shortest=1.5, longest=10)
    assert fault(spec, world()) is None, "unknown: the clip's own 2 s"
    assert fault(spec, attrs.evolve(world(), seconds=1.0)) == "is shorter than 1.5 s"
    assert fault(spec, attrs.evolve(world(), seconds=10.5)) == "is longer than 10 s"


def cut(one: Example, other: Example) -> Example:
    assert one.clip.frames is not None
    assert other.clip.frames is not None
    frames = torch.cat([one.clip.frames[:11], other.clip.frames[11:]])
    return attrs.evolve(one, clip=attrs.evolve(one.clip, frames=frames))


def test_a_cut_is_found_and_motion_is_none() -> None:
    """Soundstage's objects, faces and flashes aren't cuts; two worlds in a row are."""
    scenes = [world(i) for i in range(12)] + [world(i, scenes=(Talk(),)) for i in range(3)]
    assert [fault(SceneCut(), example) for example in scenes] == [None] * 15
    cuts = [cut(scenes[i], scenes[i + 12]) for i in range(3)]
    assert [fault(SceneCut(), example) for example in cuts] == ["has a scene cut"] * 3


def test_a_metric_keeps_a_range() -> None:
    example = world(1)
    metric = MetricRange(name="correlation").build()
    found = metric.analyse(example)
    value = metric.metric.score(found.video, found.audio)["correlation"]
    assert fault(MetricRange(lowest=value - 0.01, highest=value + 0.01), example) is None
    assert fault(MetricRange(lowest=value + 0.01), example) is not None
    assert fault(MetricRange(highest=value - 0.01), example) is not None
    still = attrs.evolve(example, clip=attrs.evolve(example.clip, frames=example.clip.frames * 0))  # type: ignore[operator]
    assert fault(MetricRange(lowest=-1), still) == "has no correlation"
    misspelt = "has no correlaton (did you mean 'correlation'?)"
    assert fault(MetricRange(name="correlaton"), example) == misspelt
    assert fault(MetricRange(lowest=-1, undefined=True), still) is None
