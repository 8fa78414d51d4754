"""The cases of a benchmark: read from files, shipped, and drawn from Soundstage."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import attrs
import pytest
from helpers.command_line import jsonl

from harmony_parts.assembly.read import read_recipe
from harmony_parts.av import Format
from harmony_parts.bench.cases import (
    SETS,
    SHIPPED,
    chosen_cases,
    first_of_each,
    read_cases,
    soundstage_cases,
)
from harmony_parts.data.soundstage import Soundstage
from harmony_parts.errors import RequestError
from harmony_parts.generate.request import Request
from harmony_parts.media.clip import Clip

FORMAT = Format(fps=12, height=16, width=16, sample_rate=8000, seconds=2.0)


def test_shipped_cases_have_the_structure_of_harmony_bench() -> None:
    """50 of each set; speech in English and Chinese; no text twice."""
    cases = read_cases(SHIPPED, Request())
    assert Counter(case.set for case in cases) == dict.fromkeys(
        ("ambient", "speech", "complex"), 50
    )
    assert len({case.request.prompt for case in cases}) == len({c.key for c in cases}) == 150
    assert all(case.request.sound for case in cases if case.set != "speech")
    assert all(bool(case.request.speech) == (case.set != "ambient") for case in cases)
    chinese = Counter(
        case.set for case in cases if any("\u4e00" <= c <= "\u9fff" for c in case.request.prompt)
    )
    assert chinese == {"speech": 25, "complex": 24}


def test_soundstage_gives_its_held_out_cases() -> None:
    """The same on every call; the speech set has transcripts."""
    for name in ("hard", "speech"):
        assert name in SETS
        cases = soundstage_cases(name, FORMAT)
        assert len(cases) == 50
        assert {case.set for case in cases} == {name}
        assert all("held-out" in case.name for case in cases)
    again = soundstage_cases("speech", FORMAT)
    assert [c.request.speech for c in again] == [
        c.request.speech for c in soundstage_cases("speech", FORMAT)
    ]
    assert sum(bool(case.request.speech) for case in again) > 40
    assert [case.name for case in first_of_each(again, 3)] == [case.name for case in again[:3]]


def test_texts_are_those_of_clips_of_any_size() -> None:
    large = attrs.evolve(FORMAT, height=40, width=64)
    data = Soundstage(scenes=(SETS["hard"],), held_out=True).build(format=large)
    for index, case in enumerate(soundstage_cases("hard", large)[:5]):
        example = data.example(index)
        assert case.name == example.name
        assert case.request.prompt == example.prompt.caption
        assert case.request.sound == example.prompt.sound


def test_a_models_own_scenes_are_the_default() -> None:
    demo, big = read_recipe("demo"), read_recipe("clips")
    own = chosen_cases(None, [], demo, Request(steps=3))
    assert {case.set for case in own} == {"own"}
    assert {case.request.steps for case in own} == {3}
    assert {case.name.split("-")[0] for case in own} == {"ball", "hammer", "bar"}
    assert len(chosen_cases(None, [], big, Request())) == 150
    with pytest.raises(RequestError, match="wasn't trained on Soundstage"):
        chosen_cases(None, ["own"], big, Request())
    with pytest.raises(RequestError, match="did you mean 'ambient'"):
        chosen_cases(None, ["ambeint"], demo, Request())


def test_references_are_what_a_clip_should_contain(tmp_path: Path, flash: Path) -> None:
    file = jsonl(
        tmp_path / "cases.jsonl",
        {"name": "a", "set": "speech", "speech": "hello", "voice": str(flash), "image": str(flash)},
        {"prompt": "a door"},
    )
    first, second = read_cases(file, Request())
    reference = first.reference()
    assert reference.transcript == "hello"
    assert reference.voice is not None
    assert reference.voice.frames is None
    clip = Clip.read(flash)
    assert reference.image is not None
    assert clip.frames is not None
    assert reference.image.equal(clip.frames[0])
    assert (second.set, second.reference().transcript) == ("clips", None)


def test_faults_name_the_file_the_line_and_the_field(tmp_path: Path) -> None:
    file = jsonl(
        tmp_path / "cases.jsonl",
        {"set": "a", "promt": "x"},
        {"set": "../up", "prompt": "x"},
        {"set": "a", "voice": "none.wav"},
        "{",
    )
    with pytest.raises(RequestError) as error:
        read_cases(file, Request())
    messages = str(error.value).splitlines()
    assert str(file) in messages[0]
    for number, cause in enumerate(
        ("unknown column 'promt' (did you mean 'prompt'?)", "set must be a name", "voice: "), 1
    ):
        assert any(f"cases.jsonl, line {number}: " in line and cause in line for line in messages)
    assert any("line 4: isn't a JSON object" in line for line in messages)
