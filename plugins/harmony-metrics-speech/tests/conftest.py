"""Real people, and one of Soundstage's voices; the helper beside it is imported by its name."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import pytest

from harmony_parts.media.clip import Clip

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def people(clips: Path) -> dict[str, Clip]:
    """Transcript -> sound of the seven people of the GRID corpus (CC BY 4.0)."""
    with (clips / "manifest.csv").open(newline="") as opened:
        rows = [row for row in csv.DictReader(opened) if row["file"].startswith("grid_")]
    assert len(rows) == 7
    return {row["transcript"]: Clip.read(clips / row["file"], streams=["audio"]) for row in rows}


@pytest.fixture(scope="session")
def person(people: dict[str, Clip]) -> Clip:
    """The first of them."""
    return next(iter(people.values()))


@pytest.fixture(scope="session")
def synthetic() -> Clip:
    """A clip of one of Soundstage's voices."""
    from voices import example, take

    return example(take()).clip
