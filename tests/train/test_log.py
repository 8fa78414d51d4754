"""The log of a run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harmony_parts.train.log import Log


def test_progress_of_preparing_is_plain_lines_without_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("harmony_parts.report.pace.FIRST", 0.0)
    for progress in (True, False):
        with Log(tmp_path, step=0, steps=9, progress=progress) as log:
            assert list(log.track(range(3), 3)) == [0, 1, 2]
        lines = capsys.readouterr().err.splitlines()
        assert [line.partition(", about")[0] for line in lines] == (
            ["preparing clips: 2 of 3"] if progress else []
        )


def test_a_line_tells_pace_memory_and_what_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = {"step": 40, "loss": 0.5, "losses": {"joint.video": 0.25}, "seconds_per_step": 0.5}
    with Log(tmp_path, step=0, steps=200, progress=True, clips=16) as log:
        log.show(record)
    (line,) = capsys.readouterr().err.splitlines()
    begin = "step 40/200: loss 0.5000 (joint.video 0.2500), 0.500 s a step, 32.0 clips/s, "
    assert line.startswith(begin)
    assert re.fullmatch(r"[\d.,]+ [MG]iB of memory, 1 min 20 s left", line.removeprefix(begin))
