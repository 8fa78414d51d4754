"""Faces as SyncNet sees them: found by S3FD, tracked, and cut out at 25 frames a second."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cv2
import numpy as np
from scenedetect import ContentDetector
from scenedetect.scene_manager import compute_downscale_factor
from scipy.signal import medfilt
from syncnet_python.syncnet_pipeline import PipelineConfig, SyncNetPipeline

FPS = 25  # of the picture
SIDE = 224  # pixels of a cut face
GREY = (110, 110, 110)  # around the picture
SMOOTH = 13  # frames, of the median of a face's place and size

Detect = Callable[[np.ndarray], np.ndarray]
"""From a frame RGB uint8 [H, W, 3] to faces [N, 5]: left, top, right, bottom in pixels, score."""


def at_25(frames: np.ndarray, fps: float) -> np.ndarray:
    """The frames [T, H, W, 3] at 25 a second: each is the nearest earlier one, to half a frame."""
    count = max(1, round(len(frames) / fps * FPS))
    at = ((np.arange(count) + 0.5) * fps / FPS).astype(int)
    return frames[np.minimum(at, len(frames) - 1)]


def tracks(
    frames: np.ndarray, detect: Detect, settings: PipelineConfig
) -> list[tuple[int, np.ndarray]]:
    """(first frame, boxes [N, 4]) of each face that is long enough and large enough.

    The tracker is the package's, within each scene.
    """
    tracker = SyncNetPipeline.__new__(SyncNetPipeline)  # without its networks, and their files
    tracker.cfg = settings
    found = []
    for begin, end in scenes(frames):
        if end - begin >= settings.min_track:
            seen = [
                [{"frame": k, "bbox": face[:4].tolist()} for face in detect(frames[k])]
                for k in range(begin, end)
            ]
            found += [(int(each["frame"][0]), each["bbox"]) for each in tracker._track(seen)]
    return found


def scenes(frames: np.ndarray) -> Iterator[tuple[int, int]]:
    """(first frame, end) of each scene, by PySceneDetect's ContentDetector."""
    detector, (height, width) = ContentDetector(), frames.shape[1:3]
    factor = max(1.0, compute_downscale_factor(max(height, width)))
    size = max(1, round(width / factor)), max(1, round(height / factor))
    cuts = [0]
    for k, frame in enumerate(frames):
        small = cv2.resize(frame[..., ::-1], size, interpolation=cv2.INTER_LINEAR)
        cuts += detector.process_frame(k, small)
    yield from zip(cuts, [*cuts[1:], len(frames)])


def crop(frames: np.ndarray, boxes: np.ndarray, share: float) -> np.ndarray:
    """BGR uint8 [N, 224, 224, 3]: a square of 1 + 2 `share` faces, reaching below the face.

    Place and half side are medians over 13 frames, as the pipeline has them.
    """
    sides = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    half, x, y = (medfilt(each, SMOOTH) for each in (sides / 2, *middles.T))
    return np.stack(
        [_cut(frame, half[k], x[k], y[k], share) for k, frame in enumerate(frames[: len(boxes)])]
    )


def _cut(frame: np.ndarray, half: float, x: float, y: float, share: float) -> np.ndarray:
    edge = int(half * (1 + 2 * share))
    wide = cv2.copyMakeBorder(
        frame[..., ::-1], edge, edge, edge, edge, cv2.BORDER_CONSTANT, value=GREY
    )
    x, y = x + edge, y + edge
    rows = slice(int(y - half), int(y + half * (1 + 2 * share)))
    columns = slice(int(x - half * (1 + share)), int(x + half * (1 + share)))
    return cv2.resize(wide[rows, columns], (SIDE, SIDE))
