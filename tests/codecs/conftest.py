"""The real clips in the codecs' test format: 64 pixels high, own frame rate, mono at 16 kHz."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from harmony_parts.media.clip import Clip


@pytest.fixture(scope="session")
def real(clips: Path) -> dict[str, Clip]:
    """File name -> clip; the width keeps the aspect ratio, to the nearest 8 pixels."""
    with (clips / "manifest.csv").open(newline="") as manifest:
        rows = list(csv.DictReader(manifest))
    return {
        row["file"]: Clip.read(
            clips / row["file"],
            height=64,
            width=8 * round(64 * int(row["width"]) / int(row["height"]) / 8),
            sample_rate=16_000,
        )
        for row in rows
    }
