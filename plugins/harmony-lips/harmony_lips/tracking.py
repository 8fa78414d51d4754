"""From mouth boxes of single frames to one box per frame and speaker."""

from __future__ import annotations

from itertools import pairwise

import attrs
import cv2
import numpy as np

from harmony_lips.faces import Finder
from harmony_lips.flow import Flow, shift_above

EVERY = 0.2  # s between the frames in which faces are sought
SHARE = 0.5  # of these frames in which a face must be found
SMOOTH = 0.5  # s, of a track


@attrs.define(eq=False)
class _Seen:
    """A face: the frames in which it was found, and its mouth boxes there."""

    frames: list[int]
    boxes: list[np.ndarray]


def find(frames: np.ndarray, fps: float, finder: Finder) -> list[np.ndarray]:
    """Mouth boxes [T, 4] in pixels of each face that `finder` finds in half of the frames or more.

    Faces are sought every 0.2 s; a box belongs to the face whose last mouth is nearest and less
    than its own width away. Between these frames boxes are interpolated, and smoothed over 0.5 s.
    """
    step = max(1, round(EVERY * fps))
    looked = range(0, len(frames), step)
    seen: list[_Seen] = []
    for k in looked:
        free = list(seen)
        for box in np.reshape(finder(frames[k]), (-1, 4)):
            near = min(free, key=lambda each: _distance(each.boxes[-1], box), default=None)
            if near is None or _distance(near.boxes[-1], box) > box[2] - box[0]:
                near = _Seen([], [])
                seen.append(near)
            else:
                free.remove(near)
            near.frames.append(k)
            near.boxes.append(box)
    window = max(1, round(SMOOTH * fps / step)) | 1
    tracks = []
    for face in seen:
        if len(face.frames) >= SHARE * len(looked):
            track = _smooth(np.stack(face.boxes), window)
            times = np.arange(len(frames))
            tracks.append(np.stack([np.interp(times, face.frames, side) for side in track.T], 1))
    return tracks


def follow(frames: np.ndarray, box: np.ndarray, flow: Flow) -> np.ndarray:
    """[T, 4]: a mouth box of the first frame, moved with what is above it: nose and cheeks."""
    track = [np.asarray(box, float)]
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    for old, new in pairwise(grey):
        x, y = shift_above(flow, old, new, track[-1])
        track.append(track[-1] + (x, y, x, y))
    return np.stack(track)


def _distance(one: np.ndarray, two: np.ndarray) -> float:
    """Between the middles of two boxes."""
    return float(np.hypot(*(one[:2] + one[2:] - two[:2] - two[2:]) / 2))


def _smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Moving mean of [N, 4] over an odd number of values, the edges repeated."""
    padded = np.pad(values, ((window // 2,) * 2, (0, 0)), mode="edge")
    return np.stack([padded[k : k + len(values)] for k in range(window)]).mean(0)
