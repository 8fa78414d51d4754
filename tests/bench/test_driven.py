"""Soundstage's cases in driven tasks, by several guidances, held against the true clips."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import pytest
import torch

from harmony_parts.assembly.read import read_recipe
from harmony_parts.bench.cases import Case, held_out, soundstage_cases
from harmony_parts.bench.given import of_tasks
from harmony_parts.errors import RequestError
from harmony_parts.generate.request import Request
from harmony_parts.media.clip import Clip

WORDS = ("--set", "ambient", "--task", "joint", "--task", "audio-driven", "--task", "video-driven")
WORDS += ("--first", "2", "--driven", "1", "--voice", "--truth", "--metric", "events.onset=0.5")
WORDS += ("--guidance", "none", "--guidance", "sync-cfg", "--steps", "1", "--device", "cpu")


def test_tasks_and_guidances_are_scored_against_the_truth(harmony, trained, tmp_path):
    out = tmp_path / "o"
    result = harmony("bench", trained, *WORDS, "--out", out)
    assert result.exit_code == 0, result.output
    found = json.loads((out / "bench.json").read_text(encoding="utf-8"))
    assert list(found["sets"]) == ["ambient", "ambient-audio-driven", "ambient-video-driven", "all"]
    assert [side["name"] for side in found["sides"]] == ["none", "sync-cfg"]
    files = [clip["file"] for clip in found["sides"][0]["clips"]]
    assert [file.split("/")[0] for file in files] == [
        *("ambient", "ambient"), "ambient-audio-driven", "ambient-video-driven"
    ]  # fmt: skip
    name = Path(files[0]).name
    true = Clip.read(out / "given/ambient" / name.replace(".mp4", ".mkv"))
    seen = Clip.read(out / "none/clips/ambient-video-driven" / name)
    assert torch.equal(seen.frames, true.frames)
    heard = Clip.read(out / "sync-cfg/clips/ambient-audio-driven" / name)
    assert float((heard.waveform - true.waveform)[..., :3000].abs().max()) < 1e-4
    # the true clips' own numbers are in the report, and in the tables
    counts = found["truth"]["ambient"]["none"]["events"]
    assert counts["audio_events"]["truth"] > 0
    table = (out / "bench.md").read_text(encoding="utf-8")
    assert "## ambient-video-driven" in table
    assert "| events heard | none | 2 |" in table
    # the same command goes on, and makes nothing anew
    times = {file: (out / "none/clips" / file).stat().st_mtime_ns for file in files}
    assert harmony("bench", trained, *WORDS, "--out", out).exit_code == 0
    assert times == {file: (out / "none/clips" / file).stat().st_mtime_ns for file in files}


def test_spoken_cases_get_their_speakers_voice(recipe, tmp_path):
    loaded = read_recipe(str(recipe))
    loaded = attrs.evolve(loaded, format=attrs.evolve(loaded.format, seconds=1.5))
    asked = of_tasks(
        soundstage_cases("speech", loaded.format)[:1]
        + soundstage_cases("ambient", loaded.format)[:1],
        ["joint"],
        True,
        tmp_path,
        loaded,
    )
    assert asked[0].request.speech
    assert asked[1].request.voice is None
    voice = asked[0].reference().voice
    assert voice.seconds == 1
    assert float(voice.waveform.abs().max()) > 0.05
    example = held_out("speech", loaded.format).example(0)
    assert torch.equal(voice.waveform, example.prompt.voice)


def test_a_voice_in_stereo_keeps_its_sides(recipe, tmp_path, monkeypatch):
    """In the file that a model is given. Soundstage's own speakers stand in the middle."""
    loaded = read_recipe(str(recipe))
    loaded = attrs.evolve(loaded, format=attrs.evolve(loaded.format, seconds=1.5, channels=2))
    example = held_out("speech", loaded.format).example(0)
    sides = torch.stack((example.prompt.voice[0], 0.5 * example.prompt.voice[0].flip(0)))
    moved = attrs.evolve(example, prompt=attrs.evolve(example.prompt, voice=sides))
    monkeypatch.setattr("harmony_parts.bench.given._example", lambda case, recipe: moved)
    cases = soundstage_cases("speech", loaded.format)[:1]
    (case,) = of_tasks(cases, ["joint"], True, tmp_path, loaded)
    torch.testing.assert_close(Clip.read(case.request.voice).waveform, sides, rtol=0, atol=2**-22)


def test_a_file_of_cases_has_no_true_clips(tmp_path):
    case = Case("c", "clips", Request(prompt="a ball", speech="hello"))
    (same,) = of_tasks([case], ["joint"], False, tmp_path, None)
    assert (same.key, same.request.title()) == (case.key, "a ball, hello")
    for tasks, voice in ((["audio-driven"], False), (["joint"], True)):
        with pytest.raises(RequestError, match="only Soundstage's cases come with true clips"):
            of_tasks([case], tasks, voice, tmp_path, None)
