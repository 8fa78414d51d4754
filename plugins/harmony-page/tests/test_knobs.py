"""Sliders from the knobs of guidances."""

from __future__ import annotations

import pytest

import harmony_parts as hp
from harmony_page.knobs import OWN, changed, described, guidances, knobs


def test_each_number_of_a_guidance_is_a_knob_with_its_words():
    """Name, value, limits and help are those of the part."""
    video, audio = knobs(hp.SyncCFG(video=2.5))
    assert (video.label, video.value, video.low, audio.value) == ("video", 2.5, 0, 2.0)
    assert video.help == "scale of the video's velocity; 1 is off"


def test_wrapped_guidances_have_knobs_too():
    """Also those in a list of terms, by their names; a change reaches the inner part alone."""
    whole = hp.SumGuidance((hp.Window(inner=hp.CFG()), hp.SyncCFG()))
    found = {knob.label: knob for knob in knobs(whole)}
    assert list(found)[:3] == ["window cfg video", "window cfg audio", "window low"]
    assert list(found)[-2:] == ["sync-cfg video", "sync-cfg audio"]
    assert changed(whole, {found["sync-cfg audio"].path: 7}) == hp.SumGuidance(
        (hp.Window(inner=hp.CFG()), hp.SyncCFG(audio=7))
    )


def test_two_terms_of_a_kind_are_numbered():
    """So that no two sliders bear the same name."""
    labels = [knob.label for knob in knobs(hp.SumGuidance((hp.CFG(), hp.SyncCFG(), hp.CFG())))]
    assert labels[0] == "cfg 1 video"
    assert labels[-1] == "cfg 2 audio"
    assert len(set(labels)) == len(labels) == 6


def test_a_guidance_is_described_with_all_its_numbers():
    """By the names that recipes use."""
    whole = hp.SumGuidance((hp.CFG(2.5, 1), hp.SyncCFG(video=2, audio=1.5)))
    words = "sum of cfg (video 2.5, audio 1) + sync-cfg (video 2, audio 1.5)"
    assert described(whole) == words
    assert described(whole, numbers=False) == "sum of cfg + sync-cfg"
    assert described(hp.NoGuidance()) == "none"


def test_every_installed_guidance_takes_the_values_of_its_sliders():
    """Both ends are values that the part accepts, and the value in use lies between them."""
    found = guidances(hp.SyncCFG())
    assert {OWN, "none", "cfg", "sync-cfg", "skip-layer"} <= found.keys()
    for guidance in found.values():
        for knob in knobs(guidance):
            assert knob.low <= knob.value <= knob.high
            for end in (knob.low, knob.high):
                again = knobs(changed(guidance, {knob.path: end}))
                assert {each.path: each.value for each in again}[knob.path] == end
        assert changed(guidance, {knob.path: knob.value for knob in knobs(guidance)}) == guidance


def test_whole_numbers_stay_whole():
    """A layer is no fraction, whatever a slider sends."""
    assert changed(hp.SkipLayer(), {("layer",): 3.0}).layer == 3
    assert isinstance(changed(hp.SkipLayer(), {("layer",): 3.0}).layer, int)


def test_what_a_part_refuses_stays_refused():
    """In its own words."""
    with pytest.raises(ValueError, match="video must be a finite number of at least 0"):
        changed(hp.SyncCFG(), {("video",): -1.0})
