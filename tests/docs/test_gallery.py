"""The gallery: its command, with a model of fresh weights, and the page that is committed."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner
from helpers.html_sources import sources
from helpers.talking_model import talking_model
from PIL import Image

from harmony_parts.demo.make import PLAIN, TRUTH

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """docs/gallery.py, with fewer cases."""
    spec = importlib.util.spec_from_file_location("docs_gallery", DOCS / "gallery.py")
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    for name in ("JOINT", "DRIVEN", "FAILURES"):
        monkeypatch.setattr(found, name, 1)
    monkeypatch.setattr(found, "SEARCHED", 2)
    return found


def played(page: Path) -> list[Path]:
    """The files that the site plays from a page: it is one folder deeper there."""
    files = sources(page.read_text(encoding="utf-8"))
    assert all(file.startswith("../images/gallery/") for file in files)
    return [page.parent / file.removeprefix("../") for file in files]


def test_the_command_writes_page_clips_and_still(module: ModuleType, tmp_path: Path) -> None:
    old = tmp_path / "images" / "gallery" / "old.mp4"
    old.parent.mkdir(parents=True)
    old.touch()
    model = talking_model(tmp_path / "model")
    result = CliRunner().invoke(module.main, ["--model", str(model), "--docs", str(tmp_path)])
    assert result.exit_code == 0, result.output
    page = tmp_path / "gallery.md"
    assert set(played(page)) == {*old.parent.glob("*.mp4"), *old.parent.glob("*.flac")}
    assert not old.exists()
    text = page.read_text(encoding="utf-8")
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        "## Picture and sound together",
        "## A picture for a given sound",
        "## A sound for a given picture",
        "## Words in a given voice",
        "## Going on from a clip",
        "## What goes wrong",
    ]
    for block in re.findall(r"<p .*?</p>\n.*\n", text):  # else Markdown would end the HTML
        assert "\n\n" not in block
        assert block.count("<div") == block.count("</div>") > 2
    with Image.open(old.parent / "still.png") as still:
        assert still.width == 1200


def test_a_gallery_that_is_too_large_is_refused(
    module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LARGEST", 1000)
    monkeypatch.setattr(module, "chosen", lambda *_, **__: [])
    model = talking_model(tmp_path / "model")
    result = CliRunner().invoke(module.main, ["--model", str(model), "--docs", str(tmp_path)])
    assert result.exit_code == 1
    assert "1,000 are the limit" in result.output


def test_the_lowest_come_first(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """By F1, 0 for a clip without an event; of equal ones, that with the largest offset."""
    monkeypatch.setattr(module, "FAILURES", 3)
    right = {"f1": 1.0, "offset_ms": 1.0}
    cases = [
        {TRUTH: right, "SyncCFG": {"f1": 1.0, "offset_ms": 5.0}},
        {TRUTH: right, "SyncCFG": {"f1": 1.0, "offset_ms": 80.0}},
        {TRUTH: {"f1": 0.8}, "SyncCFG": {"f1": 0.1}},  # the metric itself fails
        {TRUTH: right, "SyncCFG": {"f1": 0.5, "offset_ms": 0.0}},
        {TRUTH: right, "SyncCFG": {}},
    ]
    assert module.lowest(cases, "SyncCFG") == [4, 3, 1]


def test_the_committed_gallery_plays_and_is_small() -> None:
    """Every file of the page is there, every file is on the page, and all are below 6 MB."""
    media = DOCS / "images" / "gallery"
    files = played(DOCS / "gallery.md")
    assert set(files) == {*media.glob("*.mp4"), *media.glob("*.flac")}
    assert sum(file.stat().st_size for file in files) < 6_000_000
    for way in (TRUTH, PLAIN):
        assert len([file for file in files if file.stem.endswith(way)]) >= len(files) // 4
