"""The ambient and the hard set: what isn't heard, what isn't seen, and what gets harder."""

from __future__ import annotations

import attrs
import numpy as np
import pytest

from harmony_parts.av import Format
from harmony_parts.data.rendering import render
from harmony_parts.metrics.events import Events
from harmony_parts.scenes.ambient import Ambient, AmbientTake
from harmony_parts.scenes.bell import Bell
from harmony_parts.scenes.hard import Hard
from harmony_parts.scenes.rhythm import Rhythm

FORMAT = Format(fps=24, height=64, width=64, sample_rate=16000, seconds=2.0)


def takes(scene, number: int) -> list[AmbientTake]:
    return [scene.draw(np.random.default_rng(k), 2.0, Rhythm()) for k in range(number)]


def test_level_zero_is_the_inner_scene() -> None:
    for one, other in zip(takes(Hard(level=0.0), 5), takes(Ambient(), 5), strict=True):
        assert one.events == other.events
        assert one.caption == other.caption


def test_a_level_raises_every_number() -> None:
    easy, harder = Ambient(), Hard(level=2.0).harder()
    assert harder.events > easy.events
    assert harder.distractors > easy.distractors
    assert harder.knocks > easy.knocks
    assert harder.clutter > easy.clutter
    assert harder.jitter > easy.jitter


def test_more_events_a_second() -> None:
    counts = [
        sum(len(take.inner.events) for take in takes(Ambient(events=events, silent=0.0), 40))
        for events in (1.0, 1.7)
    ]
    assert counts[1] > 1.25 * counts[0]


def test_distractors_and_outside_sounds_are_no_events() -> None:
    """Detectors find the true events of each stream, among distractors and sounds from outside."""
    metric, shares = Events(), []
    for take in takes(Ambient(silent=0.0, distractors=2, outside=1.0), 18):
        one = render(take, FORMAT)
        found = metric.analyse(one.clip)
        scores = metric.score(found.video, found.audio, one.events)
        shares.append((scores["video_truth_f1"], scores["audio_truth_f1"]))
    assert np.mean(shares, 0).min() > 0.97


def test_knocks_are_heard_only() -> None:
    take = next(t for t in takes(Ambient(knocks=3, silent=0.0), 20) if len(t.knocks))
    only = [event for event in take.events if event.what == "knock"]
    assert {event.streams for event in only} == {("audio",)}
    quiet = attrs.evolve(take, knocks=[])
    a, b = render(take, FORMAT), render(quiet, FORMAT)
    assert (a.clip.frames == b.clip.frames).all()
    assert not (a.clip.waveform == b.clip.waveform).all()


def test_takes_without_events_are_quiet_and_still() -> None:
    for take in takes(Ambient(silent=1.0, distractors=0, outside=0.0), 18):
        one = render(take, FORMAT)
        assert one.events == ()
        assert not one.clip.waveform.any(), take.caption
        assert (one.clip.frames == one.clip.frames[:1]).all(), take.caption


def test_hard_refuses_a_scene_without_its_settings() -> None:
    with pytest.raises(ValueError, match="Bell has no events, distractors, knocks, clutter"):
        Hard(inner=Bell())
    assert Hard(inner=Ambient(scenes=(Bell(),))).harder()
