"""Contact sheets: the frames of clips above their waveforms, with visible and audible events."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from harmony_parts.av import AV
from harmony_parts.display.pictures import PAPER, evenly, film_strip, wave
from harmony_parts.media.clip import Clip
from harmony_parts.media.files import replace

WIDTH, WAVE, LABEL, GAP = 1200, 44, 18, 10  # pixels
INK, FAINT = (32, 36, 44), (150, 156, 166)
SEEN, HEARD = (214, 64, 44), (22, 140, 90)
MOST_FRAMES = 24


@attrs.frozen(eq=False)
class Row:
    """A clip of the sheet, its title, and the times of its events in both streams (seconds)."""

    title: str
    clip: Clip
    events: AV[Any]


def contact_sheet(rows: Sequence[Row], path: Path, heading: str = "") -> Path:
    """Write a PNG with a title, up to 24 evenly spaced frames and the waveform of each clip.

    Red lines mark events in the frames, green ones events in the sound. A stream that a clip lacks
    is left out.
    """
    tops, height = [], 30
    for row in rows:
        tops.append(height)
        height += LABEL + _frame_height(row.clip) + (0 if row.clip.waveform is None else WAVE) + GAP
    sheet = Image.new("RGB", (WIDTH, height + 4), PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    draw.text((6, 7), heading, INK, font)
    if any(len(row.events[stream]) for row in rows for stream in row.events):
        right = draw.textlength("| seen   | heard ", font)
        draw.text((WIDTH - right, 7), "| seen", SEEN, font)
        draw.text((WIDTH - right + draw.textlength("| seen   ", font), 7), "| heard", HEARD, font)
    for row, top in zip(rows, tops, strict=True):
        draw.text((6, top + 1), row.title, INK, font)
        if row.clip.frames is not None:
            _frames(sheet, row, row.clip.frames, top + LABEL)
        if row.clip.waveform is not None:
            _wave(sheet, row, top + LABEL + _frame_height(row.clip))
    replace(path, sheet.save)
    return path


def _frame_height(clip: Clip) -> int:
    """Height of a drawn frame in pixels of the sheet; 0 without frames."""
    if clip.frames is None:
        return 0
    height, width = clip.frames.shape[1:3]
    return round(WIDTH / len(evenly(len(clip.frames), MOST_FRAMES)) * height / width)


def _frames(sheet: Image.Image, row: Row, frames: Tensor, top: int) -> None:
    strip = film_strip(_array(frames), WIDTH, MOST_FRAMES)
    sheet.paste(strip, (0, top))
    for time in row.events.video if row.events.video is not None else ():
        x = time / row.clip.seconds * WIDTH
        ImageDraw.Draw(sheet).line([(x, top), (x, top + strip.height)], SEEN, 2)


def _wave(sheet: Image.Image, row: Row, top: int) -> None:
    sheet.paste(wave(_array(row.clip.mono()), WIDTH, WAVE), (0, top))
    draw = ImageDraw.Draw(sheet)
    for time in row.events.audio if row.events.audio is not None else ():
        at = time / row.clip.seconds * WIDTH
        draw.line([(at, top), (at, top + WAVE)], HEARD, 2)
    draw.line([(0, top + WAVE), (WIDTH, top + WAVE)], FAINT)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()
