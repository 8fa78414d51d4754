"""The benchmark of drafts on the model that ships, with one clip."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from harmony_parts.benchmarks import drafts


@pytest.mark.slow
def test_it_writes_a_report_and_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With less noise the picture is nearer to the draft."""
    monkeypatch.setattr(drafts, "STRENGTHS", (0.4, 1.0))
    monkeypatch.chdir(tmp_path)
    words = ["harmony-tiny", "--clips", "1", "--out", "drafts.json", "--sheet", "drafts.png"]
    done = CliRunner().invoke(drafts.main, words)
    assert done.exit_code == 0, done.output
    found = json.loads(Path("drafts.json").read_text(encoding="utf-8"))["strengths"]
    near, far = (found[s]["levels from the draft"]["mean"] for s in ("0.4", "1.0"))
    assert near < far
    for whose in ("given", "draft's"):
        assert abs(found["0.4"][f"with the {whose} sound"]["mean"]) <= 1
    with Image.open("drafts.png") as sheet:
        assert sheet.width > 400
