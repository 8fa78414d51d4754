"""Contact sheets: the frames of clips above their sound, with visible and audible events."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from harmony_parts.av import AV
from harmony_parts.display.pictures import PAPER, evenly, film_strip, spectrogram, wave
from harmony_parts.media.clip import Clip
from harmony_parts.media.files import replace

WIDTH, WAVE, SPECTROGRAM, LABEL, GAP = 1200, 44, 64, 18, 10  # pixels
INK, FAINT = (32, 36, 44), (150, 156, 166)
SEEN, HEARD = (214, 64, 44), (22, 140, 90)
MOST_FRAMES = 24

Colour = tuple[int, int, int]


@attrs.frozen(eq=False)
class Row:
    """A clip of the sheet, its title, and the times of its events in both streams (seconds)."""

    title: str
    clip: Clip
    events: AV[Any]


def contact_sheet(
    rows: Sequence[Row],
    path: Path,
    heading: str = "",
    *,
    frames: int = MOST_FRAMES,
    spectrograms: bool = False,
) -> Path:
    """Write a PNG with a title, up to `frames` evenly spaced frames and the sound of each clip.

    Sounds are waveforms, or spectrograms. Red lines mark events in the frames, green ones events in
    the sound. A stream that a clip lacks is left out.
    """
    sound, tops, height = SPECTROGRAM if spectrograms else WAVE, [], 30
    for row in rows:
        tops.append(height)
        height += LABEL + _frame_height(row.clip, frames) + GAP
        height += 0 if row.clip.waveform is None else sound
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
            strip = film_strip(_array(row.clip.frames), WIDTH, frames)
            _paste(sheet, strip, top + LABEL, row, row.events.video, SEEN)
        if row.clip.waveform is not None:
            strip = _sound(row.clip, spectrograms)
            below = top + LABEL + _frame_height(row.clip, frames)
            _paste(sheet, strip, below, row, row.events.audio, HEARD)
            draw.line([(0, below + sound), (WIDTH, below + sound)], FAINT)
    replace(path, sheet.save)
    return path


def _frame_height(clip: Clip, most: int) -> int:
    """Height of a drawn frame in pixels of the sheet; 0 without frames."""
    if clip.frames is None:
        return 0
    height, width = clip.frames.shape[1:3]
    return round(WIDTH / len(evenly(len(clip.frames), most)) * height / width)


def _sound(clip: Clip, as_spectrogram: bool) -> Image.Image:
    samples = _array(clip.mono())
    if as_spectrogram:
        return spectrogram(samples, clip.sample_rate, WIDTH, SPECTROGRAM)
    return wave(samples, WIDTH, WAVE)


def _paste(
    sheet: Image.Image, strip: Image.Image, top: int, row: Row, times: Any, colour: Colour
) -> None:
    """Paste a strip as wide as the sheet, with a line at each time of an event."""
    sheet.paste(strip, (0, top))
    for time in times if times is not None else ():
        x = time / row.clip.seconds * WIDTH
        ImageDraw.Draw(sheet).line([(x, top), (x, top + strip.height)], colour, 2)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()
