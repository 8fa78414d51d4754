"""Pictures of frames, of sound and of latents, as PIL images."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

PAPER, SOUND, LOUD = (255, 255, 255), (46, 110, 180), (16, 42, 90)
WINDOW, LOWEST, RANGE, SILENT = 0.032, 80.0, 60.0, -20.0  # of a spectrogram: s, Hz, dB, dB

Values = np.ndarray[Any, Any]


def film_strip(frames: Values, width: int, most: int) -> Image.Image:
    """Up to `most` evenly spaced frames, uint8 [T, H, W, 3], in a row of `width` pixels."""
    chosen = evenly(len(frames), most)
    edges = np.linspace(0, width, len(chosen) + 1).round().astype(int).tolist()
    height = max(1, round(width / len(chosen) * frames.shape[1] / frames.shape[2]))
    strip = Image.new("RGB", (width, height), PAPER)
    for number, (left, right) in zip(chosen, pairwise(edges)):
        picture = Image.fromarray(np.ascontiguousarray(frames[number]))
        strip.paste(picture.resize((right - left, height), Image.Resampling.NEAREST), (left, 0))
    return strip


def evenly(count: int, most: int) -> list[int]:
    """Up to `most` of `count` numbers, from the first to the last."""
    numbers: list[int] = np.unique(
        np.linspace(0, count - 1, min(most, count)).round().astype(int)
    ).tolist()
    return numbers


def wave(samples: Values, width: int, height: int) -> Image.Image:
    """The smallest and largest of `samples` [N] in each pixel column, scaled to the loudest."""
    image = Image.new("RGB", (width, height), PAPER)
    draw, middle = ImageDraw.Draw(image), height / 2
    scale = 0.45 * height / max(float(np.abs(samples).max(initial=0.0)), 1e-3)
    edges = np.linspace(0, len(samples), width + 1).round().astype(int)
    for x, (start, end) in enumerate(pairwise(edges.tolist())):
        if start < end:
            part = samples[start:end]
            top, bottom = middle - part.max() * scale, middle - part.min() * scale
            draw.line([(x, top), (x, bottom)], SOUND)
    return image


def spectrogram(samples: Values, rate: int, width: int, height: int) -> Image.Image:
    """The level of `samples` [N] over time, by pitch from LOWEST Hz up, at the bottom, to rate / 2.

    Rows are equally wide in pitch; a frequency is darker the louder it is, RANGE dB from white on.
    """
    size = 1 << max(6, round(np.log2(WINDOW * rate)))
    middles = (np.arange(width) + 0.5) / width * len(samples)
    padded = np.pad(np.asarray(samples, np.float64), size // 2)
    starts = middles.astype(int)
    windows = padded[starts[:, None] + np.arange(size)] * np.hanning(size)
    levels = 20 * np.log10(np.abs(np.fft.rfft(windows)) + 1e-9)  # [width, size / 2 + 1]
    pitches = np.geomspace(LOWEST, rate / 2, height) * size / rate
    rows = np.array([np.interp(pitches, np.arange(levels.shape[1]), level) for level in levels])
    top = max(float(rows.max()), SILENT)
    share = np.clip(1 + (rows - top) / RANGE, 0, 1).T[::-1, :, None]
    colours = np.array(PAPER) * (1 - share) + np.array(LOUD) * share
    return Image.fromarray(colours.round().astype(np.uint8))


def in_colours(latents: Values) -> Values:
    """Latents [..., C] as colours, uint8 [..., 3]: their three largest principal components.

    Each component is scaled by its own 1st and 99th percentile; missing ones repeat the last.
    """
    flat = _finite(latents).reshape(-1, latents.shape[-1])
    centred = flat - flat.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    parts = centred @ axes[:, ::-1][:, :3]
    parts = parts[:, [min(k, parts.shape[1] - 1) for k in range(3)]]
    low, high = np.percentile(parts, (1, 99), axis=0)
    scaled = (parts - low) / np.maximum(high - low, 1e-12)
    colours: Values = (scaled.clip(0, 1) * 255).round().astype(np.uint8)
    return colours.reshape(*latents.shape[:-1], 3)


def in_grey(latents: Values) -> Values:
    """Latents [T, C] as grey, uint8 [C, T, 3], each channel from its smallest to its largest."""
    values = _finite(latents).T
    low, high = values.min(axis=1, keepdims=True), values.max(axis=1, keepdims=True)
    grey = ((values - low) / np.maximum(high - low, 1e-12) * 255).round().astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)


def _finite(values: Values) -> Values:
    """The values as float64, 0 for those that are no finite number."""
    finite: Values = np.nan_to_num(values.astype(np.float64), posinf=0.0, neginf=0.0)
    return finite
