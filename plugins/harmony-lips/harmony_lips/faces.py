"""Finders of mouths in a picture; a finder is any callable from a frame to mouth boxes."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import cv2
import numpy as np

Finder = Callable[[np.ndarray], np.ndarray]
"""From a frame uint8 [H, W, 3] to mouth boxes [N, 4]: left, top, right, bottom in pixels."""

LINES = 480  # of the picture in which faces are sought
# The mouth box within a cascade's square face box: middle down, width, height, in faces.
DOWN, WIDE, TALL = 0.79, 0.44, 0.30


def make_finder(name: str, model: str = "") -> Finder:
    """The finder of a name: "haar", "yunet" (with the file `model`), or "module:callable".

    Raises ValueError for another name, FileNotFoundError without YuNet's file.
    """
    if name == "haar":
        return Haar()
    if name == "yunet":
        return YuNet(model)
    module, colon, attribute = name.partition(":")
    if not colon:
        raise ValueError(f'finder must be "haar", "yunet" or "module:callable", not {name!r}')
    finder: Finder = getattr(import_module(module), attribute)
    return finder


class Haar:
    """Frontal faces by the cascade that OpenCV 4 ships (Viola and Jones; Lienhart's training).

    The mouth is taken to be at a fixed place of each face.
    """

    def __init__(self) -> None:
        file = Path(cv2.__file__).parent / "data" / "haarcascade_frontalface_alt2.xml"
        self.cascade = cv2.CascadeClassifier(str(file))

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """Mouth boxes [N, 4] of faces at least a tenth of the picture high."""
        small, scale = _at_most(frame, LINES)
        grey = cv2.equalizeHist(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY))
        least = max(24, len(grey) // 10)
        faces = self.cascade.detectMultiScale(grey, 1.1, 4, minSize=(least, least))
        x, y, side = np.reshape(faces, (-1, 4)).T[:3] / scale
        return boxes(x + side / 2, y + DOWN * side, WIDE * side, TALL * side)


class YuNet:
    """Faces and corners of their mouths by YuNet, whose file is given (OpenCV's model zoo, MIT)."""

    def __init__(self, model: str) -> None:
        if not Path(model).is_file():
            raise FileNotFoundError(
                'the finder "yunet" needs `model`, the path of face_detection_yunet_2023mar.onnx'
                f" from github.com/opencv/opencv_zoo (MIT licence); there is no file {model!r}"
            )
        self.net = cv2.FaceDetectorYN.create(model, "", (320, 320), 0.7)

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """Mouth boxes [N, 4], around the mouth's corners."""
        small, scale = _at_most(frame, LINES)
        self.net.setInputSize((small.shape[1], small.shape[0]))
        _, faces = self.net.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
        if faces is None:
            return np.zeros((0, 4))
        # x, y, width, height, five points (the last two the corners of the mouth), score
        side, corners = faces[:, 2] / scale, faces[:, 10:14].reshape(-1, 2, 2) / scale
        x, y = corners.mean(1).T
        return boxes(x, y + 0.02 * side, WIDE * side, TALL * side)


def boxes(x: np.ndarray, y: np.ndarray, width: np.ndarray, height: np.ndarray) -> np.ndarray:
    """[N, 4] left, top, right, bottom of boxes about their middles."""
    return np.stack((x - width / 2, y - height / 2, x + width / 2, y + height / 2), axis=-1)


def _at_most(frame: np.ndarray, lines: int) -> tuple[np.ndarray, float]:
    """The frame with at most so many lines, and its scale."""
    scale = min(1.0, lines / len(frame))
    if scale == 1:
        return frame, scale
    size = (max(1, round(frame.shape[1] * scale)), lines)
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA), scale
