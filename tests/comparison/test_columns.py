"""The columns of a comparison: guidances, their passes, and metrics."""

from __future__ import annotations

from types import SimpleNamespace

import attrs

from harmony_parts.assembly.read import read_recipe
from harmony_parts.comparison import columns
from harmony_parts.generate.request import Request
from harmony_parts.guidance.cfg import CFG
from harmony_parts.guidance.protocol import StepTimes
from harmony_parts.guidance.sum import Sum
from harmony_parts.guidance.sync_cfg import SyncCFG
from harmony_parts.guidance.window import Window
from harmony_parts.metrics.correlation import Correlation
from harmony_parts.metrics.events import Events


def test_settings_come_from_the_recipe_if_it_has_them(recipe):
    """At any depth of its guidance. CFG is added only to guidances that never drop the text."""
    plain = read_recipe(recipe)

    def with_guidance(guidance):
        return attrs.evolve(plain, sample=attrs.evolve(plain.sample, guidance=guidance))

    own = with_guidance(Window(inner=Sum((CFG(video=7.0), SyncCFG(audio=5.0)))))
    chosen = columns.guidances(own)
    assert list(chosen) == ["none", "cfg", "modality", "sync-cfg", "recipe"]
    assert (chosen["cfg"], chosen["sync-cfg"], chosen["recipe"]) == (
        CFG(video=7.0),
        SyncCFG(audio=5.0),
        own.sample.guidance,
    )
    assert list(columns.guidances(own, with_text=True)) == [
        "none",
        "cfg",
        "cfg + modality",
        "cfg + sync-cfg",
        "recipe",
    ]
    text = columns.guidances(
        own, ["mine.use=cfg-rescale", "skip.use=skip-layer", "skip.drop=[]"], with_text=True
    )
    assert list(text) == ["mine", "cfg + skip"]
    assert list(columns.guidances(with_guidance(Sum((CFG(), SyncCFG()))), with_text=True)) == [
        "none",
        "cfg",
        "cfg + modality",
        "cfg + sync-cfg",
    ]
    assert list(columns.guidances(plain, ["sync-cfg", "mine.use=cfg", "mine.video=2", "none"])) == [
        "sync-cfg",
        "mine",
        "none",
    ]
    assert columns.guidances(plain, ["recipe.video=1.5"]) == {"recipe": SyncCFG(video=1.5)}
    assert list(columns.guidances(plain, ["recipe", "sync-cfg"])) == ["recipe", "sync-cfg"]
    deep = columns.guidances(
        plain,
        ["mine", "mine.use=window", "mine.inner.use=sync-cfg", "mine.inner.static.use=static"],
    )
    assert deep == {"mine": Window(inner=SyncCFG())}


def test_metrics_come_from_the_recipe_if_it_has_them(recipe):
    plain = read_recipe(recipe)
    assert columns.metrics(plain) == {"events": Events(), "correlation": Correlation()}
    own = attrs.evolve(plain, metrics=(Events(tolerance=0.05),))
    assert columns.metrics(own) == {"events": Events(tolerance=0.05)}
    assert columns.metrics(own, ["correlation"]) == {"correlation": Correlation()}
    assert columns.metrics(own, ["events.onset=7", "correlation"]) == {
        "events": Events(tolerance=0.05, onset=7.0),
        "correlation": Correlation(),
    }
    twice = attrs.evolve(plain, metrics=(Events(), Events(tolerance=0.05)))
    assert columns.metrics(twice) == {"events": Events(), "events-2": Events(tolerance=0.05)}
    assert columns.metrics(own, ["loose.use=events"]) == {"loose": Events()}


def test_passes_are_counted_over_all_steps(recipe):
    """Of the generated streams; a guidance may skip some steps."""
    plain = read_recipe(recipe)
    request = Request(steps=4)
    assert [
        columns.passes(guidance, plain, request) for guidance in columns.guidances(plain).values()
    ] == [4, 8, 8, 12]
    assert columns.passes(SyncCFG(), plain, Request(steps=4, audio="x.wav")) == 8
    # times 1, 0.94, 0.83, 0.63
    assert columns.passes(Window(inner=SyncCFG(), low=0.9, high=1.0), plain, request) == 4 + 2 * 2
    unable = SimpleNamespace(hints=frozenset(), accepts={})
    assert "hint isolate" in columns.misfit(
        columns.guidances(plain)["modality"], unable, plain, request
    )
    assert not columns.misfit(SyncCFG(), unable, plain, request)


def test_times_are_those_of_each_stream(recipe):
    """Each stream's shift; 0 for a given stream."""
    plain = read_recipe(recipe, ["sample.shift.video.shift=12", "sample.shift.audio.shift=3"])
    joint = columns.times_of(plain, Request(steps=2))
    assert joint == [StepTimes(1.0, 1.0), StepTimes(12 / 13, 0.75)]
    driven = columns.times_of(plain, Request(steps=2, audio="x.wav"))
    assert driven == [StepTimes(1.0, 0.0), StepTimes(12 / 13, 0.0)]
    # a window around the audio's times alone: two passes at the second step
    window = Window(inner=CFG(), low=0.5, high=0.9)
    assert columns.passes(window, plain, Request(steps=2)) == 1 + 2
    assert columns.passes(window, plain, Request(steps=2, audio="x.wav")) == 2
