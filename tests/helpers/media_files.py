"""Media files with a flash and a click, as fixtures."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
import torch

from harmony_parts.media.clip import Clip


@pytest.fixture(scope="module")
def flash(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of half a second, with a flash and a click at 0.25 s."""
    frames = torch.full((12, 32, 32, 3), 20, dtype=torch.uint8)
    frames[6:9] = 230
    wave = torch.zeros(1, 24000)
    wave[0, 12000:12960] = 0.5 * torch.sin(torch.arange(960) * 0.3)
    return Clip(frames, Fraction(24), wave, 48000).save(
        tmp_path_factory.mktemp("clips") / "flash.mp4"
    )


@pytest.fixture(scope="module")
def click_sound(flash: Path) -> Path:
    """Only the sound of `flash`, with its click."""
    # ffmpeg 7 would read AAC's padding at the end too
    return Clip.read(flash, streams={"audio"}, seconds=0.5).save(flash.with_suffix(".wav"))
