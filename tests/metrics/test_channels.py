"""Metrics hear the mean of a clip's channels, whichever side its sounds are on."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import torch

from harmony_parts.av import Format
from harmony_parts.data.soundstage import Soundstage
from harmony_parts.media.clip import Clip
from harmony_parts.metrics.correlation import Correlation
from harmony_parts.metrics.events import Events
from harmony_parts.metrics.soundstage_mouth import SoundstageMouth
from harmony_parts.metrics.soundstage_voice import SoundstageVoice
from harmony_parts.metrics.soundstage_words import SoundstageWords
from harmony_parts.scenes.talk import Talk

FORMAT = Format(fps=24, height=48, width=48, sample_rate=16000, seconds=2.0)


@pytest.fixture(scope="module")
def clip() -> Clip:
    """Somebody who talks, at half the level, so that a side can have all of it."""
    made = Soundstage(scenes=(Talk(),)).build(format=FORMAT).example(0).clip
    assert made.waveform is not None
    return attrs.evolve(made, waveform=made.waveform / 2)


@pytest.mark.parametrize(
    "spec",
    [Events(), Correlation(), SoundstageMouth(), SoundstageVoice(), SoundstageWords()],
    ids=lambda spec: type(spec).__name__,
)
def test_a_sound_on_either_side_is_the_mono_mix(spec: Any, clip: Clip) -> None:
    """The mean of 2 x and 0 is x exactly; the sum isn't, and the other side is silent."""
    metric, mono = spec.build(device="cpu"), clip.waveform
    assert mono is not None
    silent = torch.zeros_like(mono)
    sides = [torch.cat(pair) for pair in ((2 * mono, silent), (silent, 2 * mono), (mono, mono))]
    want, *found = (metric.analyse(attrs.evolve(clip, waveform=wave)) for wave in (mono, *sides))
    scores = [metric.score(each.video, each.audio) for each in (want, *found)]
    assert repr(found) == repr([want] * 3)
    assert scores == scores[:1] * 4
