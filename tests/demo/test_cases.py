"""Which held-out cases the demo asks for."""

from __future__ import annotations

from collections import Counter

import attrs
import pytest
import torch
from helpers.talking_model import talking_recipe
from helpers.tiny_training import recipe

from harmony_parts.assembly.read import read_recipe
from harmony_parts.bench.cases import soundstage_cases
from harmony_parts.demo.cases import HeldOut, chosen
from harmony_parts.demo.make import seeded
from harmony_parts.errors import RunError


def test_every_task_has_its_cases_and_no_case_comes_twice() -> None:
    asked = chosen(talking_recipe(), joint=2, driven=3, spoken=1, continued=1)
    tasks = Counter(each.task for each in asked)
    assert tasks == {
        "joint": 4, "audio-driven": 3, "video-driven": 3, "speech": 2, "continuation": 1
    }  # fmt: skip
    assert {each.set for each in asked} == {"ambient", "speech"}
    assert all(each.eventful == (each.set == "ambient") for each in asked)
    taken = [each.name for each in asked if each.task != "continuation"]
    assert len(set(taken)) == len(taken)
    seeds = [each.request.seed for each in seeded(asked, 3)]
    assert len(set(seeds)) == len(seeds)


def test_cases_are_those_of_the_benchmark() -> None:
    """So a clip of the demo can be compared with the clip of the same case there."""
    (first, *_) = chosen(talking_recipe(), joint=1, driven=0, spoken=0, continued=0)
    scene = attrs.evolve(talking_recipe().data, scenes=talking_recipe().data.scenes[:1])
    case = soundstage_cases(
        "own", talking_recipe().format, attrs.evolve(talking_recipe(), data=scene)
    )[0]
    assert case.request.title() == first.request.title()


def test_given_streams_are_those_of_the_truth() -> None:
    asked = chosen(talking_recipe(), joint=0, driven=1, spoken=0, continued=1)
    sound, video, longer = asked
    assert sound.request.audio.frames is None
    assert torch.equal(sound.request.audio.waveform, sound.truth.waveform)
    assert video.request.video.waveform is None
    assert torch.equal(video.request.video.frames, video.truth.frames)
    begin, truth = longer.request.begin, longer.truth
    assert begin.seconds == 1
    assert torch.equal(begin.frames, truth.frames[:8])
    assert truth.seconds == pytest.approx(1 + 1 - 0.25)


def test_a_transcript_is_said_in_two_voices() -> None:
    """By its own speaker, which has a truth, and by another, whose words nobody has heard."""
    own, other = chosen(talking_recipe(), joint=0, driven=0, spoken=1, continued=0)
    assert own.request.speech == other.request.speech
    assert own.request.prompt != other.request.prompt
    assert not torch.equal(own.request.voice.waveform, other.request.voice.waveform)
    assert own.truth is not None
    assert other.truth is None


def test_a_model_whose_scenes_are_silent_has_no_spoken_cases() -> None:
    asked = chosen(recipe(), joint=1, driven=1, spoken=1, continued=1)
    assert {each.task for each in asked} == {
        "joint",
        "audio-driven",
        "video-driven",
        "continuation",
    }
    assert {each.set for each in asked} == {"ball", "hammer", "bar"}


def test_a_model_of_other_data_is_refused() -> None:
    with pytest.raises(RunError, match="only models of soundstage have"):
        HeldOut(read_recipe("clips"))


def test_a_scene_beside_sets_has_no_cases_of_its_own() -> None:
    """They draw it too. Without sets, each scene has."""
    scenes = "data.scenes=['bounce','talk','ambient','hammer','complex']"
    assert [*HeldOut(read_recipe("tiny/joint", [scenes])).sets] == ["speech", "ambient", "complex"]
    assert [*HeldOut(read_recipe("demo")).sets] == ["ball", "hammer", "bar"]
