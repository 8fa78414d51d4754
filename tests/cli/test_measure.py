"""`harmony measure`, on files that the tests write."""

from __future__ import annotations

import json


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
