"""The log of a run."""

from __future__ import annotations

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
