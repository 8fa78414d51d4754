"""`harmony measure`, on files that the tests write."""

from __future__ import annotations

import json

import attrs
import pytest
from PIL import Image

from harmony_parts.assembly import tables
from harmony_parts.av import AV


def test_files_are_measured_together_and_against_chance(harmony, flash):
    result = harmony("measure", flash, flash, "--json")
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    assert [one["file"] for one in printed["files"]] == [str(flash)] * 2
    assert printed["files"][0]["video_matched"] == 1
    assert printed["together"]["f1"]["paired"] == 1
    table = harmony("measure", flash).stdout
    assert "video_matched" in table
    assert "re-paired" not in table
    assert "re-paired" in harmony("measure", flash, flash, "--metric", "correlation").stdout
    for files, errors in ((4, False), (5, True)):  # too few for a standard error
        assert ("±" in harmony("measure", *[flash] * files).stdout) == errors
    strict = json.loads(harmony("measure", flash, "--set", "tolerance=0", "--json").stdout)
    assert strict["files"][0]["matched"] == 0


def test_a_file_needs_both_streams(harmony, click_sound):
    result = harmony("measure", click_sound)
    assert result.exit_code == 1
    assert "has no picture" in result.stderr


@attrs.frozen
class Spoken:
    """Stands for a recogniser: numbers of the references, and a reason where it has none."""

    reads = ("audio",)
    batch = 2

    def build(self, *, device="cpu"):
        return self

    def analyse_batch(self, clips):
        assert len(clips) <= self.batch
        return [AV(audio=clip.waveform.shape[1] / clip.sample_rate) for clip in clips]

    def score(self, video, audio, truth=None, reference=None):
        if not reference or reference.transcript is None:
            return {}
        found = {"letters": float(len(reference.transcript))}
        if reference.voice is not None:
            found["voice"] = reference.voice.seconds
        if reference.image is not None:
            found["red"] = float(reference.image[0, 0, 0])
        return found

    def reason(self, video, audio, reference=None):
        return "" if reference.transcript else f"{audio:g} s without a transcript"


@pytest.fixture
def spoken(monkeypatch):
    """`harmony measure` builds it, whatever the metric's name."""
    monkeypatch.setattr(tables, "structure", lambda *given, **names: Spoken())


def test_references_go_to_all_files_or_one_to_each(harmony, flash, click_sound, spoken, tmp_path):
    picture = tmp_path / "red.png"
    Image.new("RGB", (8, 8), (200, 0, 0)).save(picture)
    options = ["--transcript", "yes", "--transcript", "no", "--transcript", "maybe"]
    options += ["--voice", click_sound, "--image", picture, "--json"]
    result = harmony("measure", flash, click_sound, flash, *options)
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    assert [one["letters"] for one in printed["files"]] == [3, 2, 5]
    assert {(one["voice"], one["red"]) for one in printed["files"]} == {(0.5, 200)}
    assert printed["together"]["letters"] == {
        "n": 3,
        "cases": 3,
        "paired": pytest.approx(10 / 3),
        "repaired": pytest.approx(10 / 3),  # with the transcripts of the other files
        "difference": 0.0,
    }
    wrong = harmony("measure", flash, flash, flash, *options[:4])
    assert wrong.exit_code == 2
    assert "--transcript is given 2 times for 3 files" in wrong.stderr


def test_what_it_can_not_tell_is_said_with_the_reason(harmony, flash, spoken):
    shown = harmony("measure", flash).stdout
    assert f"{flash}: can't tell: 0.5 s without a transcript" in " ".join(shown.split())
    printed = json.loads(harmony("measure", flash, "--json").stdout)
    assert printed["files"] == [{"file": str(flash), "can't tell": "0.5 s without a transcript"}]
    assert "can't tell" not in harmony("measure", flash, "--transcript", "yes").stdout
