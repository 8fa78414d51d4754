"""Optical flow inside a mouth box."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

Flow = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From two grey pictures to the motion [H, W, 2] of each pixel, in pixels."""

WIDTH = 96  # pixels, to which a mouth box is scaled
MARGIN = 0.35  # around the box, in widths, which motion across its edge needs


def dis(preset: str = "medium") -> Flow:
    """Dense inverse search (Kroeger et al., arXiv:1603.03590), by a preset of OpenCV's."""
    search = cv2.DISOpticalFlow.create(getattr(cv2, f"DISOPTICAL_FLOW_PRESET_{preset.upper()}"))
    return lambda old, new: search.calc(old, new, None)


def opening_velocity(frames: np.ndarray, track: np.ndarray, fps: float, flow: Flow) -> np.ndarray:
    """[T - 1] opening velocity of a mouth, in widths of its box a second.

    Mean vertical flow of the lower half of the box less that of the upper half: motion of the whole
    head cancels. `frames` uint8 [T, H, W, 3], `track` [T, 4] in pixels. Value k is that between
    frames k and k + 1, so at (k + 1) / fps.
    """
    found = []
    grey = cv2.cvtColor(frames[0], cv2.COLOR_RGB2GRAY)
    for k in range(len(frames) - 1):
        old, grey = grey, cv2.cvtColor(frames[k + 1], cv2.COLOR_RGB2GRAY)
        box = (track[k] + track[k + 1]) / 2  # the same for both frames
        down = flow(_cut(old, box, MARGIN), _cut(grey, box, MARGIN))[..., 1]
        edge = round(MARGIN * WIDTH)
        down = down[edge : len(down) - edge, edge : edge + WIDTH]
        middle = len(down) // 2
        found.append(down[middle:].mean() - down[:middle].mean())
    return np.array(found) / WIDTH * fps


def shift_above(
    flow: Flow, old: np.ndarray, new: np.ndarray, box: np.ndarray
) -> tuple[float, float]:
    """Motion (right, down) in pixels of the part of a face above the mouth box, nose and cheeks.

    A mean weighted with the squared gradient: plain skin shows no motion.
    """
    tall = box[3] - box[1]
    above = box - (0, tall, 0, tall)
    grey = _cut(old, above, 0.1)
    motion = flow(grey, _cut(new, above, 0.1))
    x, y = (cv2.Sobel(grey, cv2.CV_32F, *order) for order in ((1, 0), (0, 1)))
    weight = x**2 + y**2 + 1e-3
    right, down = ((motion[..., i] * weight).sum() / weight.sum() for i in range(2))
    scale = (box[2] - box[0]) / WIDTH
    return float(right) * scale, float(down) * scale


def _cut(grey: np.ndarray, box: np.ndarray, margin: float) -> np.ndarray:
    """The box and a margin, scaled to WIDTH pixels a box."""
    left, top, right, bottom = box
    scale, edge = WIDTH / max(right - left, 1e-3), round(margin * WIDTH)
    size = (WIDTH + 2 * edge, max(8, round((bottom - top) * scale)) + 2 * edge)
    place = np.array([[scale, 0, edge - scale * left], [0, scale, edge - scale * top]])
    return cv2.warpAffine(
        grey, place, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
