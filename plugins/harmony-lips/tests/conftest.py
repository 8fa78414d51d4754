"""What the tests of real clips share; the helper beside it is imported by its name."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from harmony_lips.lips import Lips, Mouths, Speech

from harmony_parts.av import AV
from harmony_parts.media.clip import Clip

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def grid(clips: Path) -> list[Clip]:
    """The seven people of the GRID corpus (CC BY 4.0)."""
    files = sorted(clips.glob("grid_*.mpg"))
    assert len(files) == 7
    return [Clip.read(file) for file in files]


@pytest.fixture(scope="session")
def found(grid: list[Clip]) -> list[AV[Mouths | Speech]]:
    """Their analyses with the frozen settings."""
    metric = Lips().build()
    return [metric.analyse(clip) for clip in grid]
