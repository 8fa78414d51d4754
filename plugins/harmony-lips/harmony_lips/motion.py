"""How much a picture moves, and how evenly, by optical flow."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import cv2
import numpy as np
import torch

from harmony_lips.flow import dis
from harmony_parts.av import AV, Event
from harmony_parts.media.clip import Clip
from harmony_parts.metrics.protocol import Metric, Reference
from harmony_parts.plugin import knob

SIDE = 256  # pixels, to which the shorter side is reduced
FASTEST = 0.05  # share of the pixels whose motion is the picture's degree
STILL = 0.01  # shorter sides a second: slower pictures have no smoothness


@attrs.frozen
class FlowMotion:
    """`flow_degree`: mean length of the fastest twentieth of the motions, in shorter sides of the
    picture a second. `flow_smoothness`: 1 - sum |g - f| / sum (|f| + |g|), from 0 to 1.

    f is the motion of a pixel from a frame to the next (DIS flow, arXiv:1603.03590), g its motion
    from there to the one after, at the place where f leads; the sums are over all pixels and
    frames. Steady motion has 1, to and fro at each frame 0, and so has motion that stands still at
    every other frame. A picture that doesn't move has a degree of 0 and no smoothness. Cuts count
    as fast motion.
    """

    preset: str = knob(
        "medium",
        help='of the flow: "ultrafast", "fast" or "medium"',
        source="OpenCV",
        validator=attrs.validators.in_(("ultrafast", "fast", "medium")),
    )

    def build(self, *, device: torch.device | str = "cpu") -> Metric:
        """The metric, which works on the CPU."""
        return Motion(self)


@attrs.frozen
class Moved:
    """Degree and smoothness; `None` where there is none, and the `reason` in words."""

    degree: float | None = None
    smoothness: float | None = None
    reason: str = ""


@attrs.frozen(eq=False)
class Motion:
    """The metric of `FlowMotion`."""

    spec: FlowMotion
    reads: tuple[str, ...] = ("video",)

    def analyse(self, clip: Clip) -> AV[Moved]:
        """How the picture moves."""
        if clip.frames is None:
            return AV(None, None)
        return AV(self.moved(clip.frames.numpy(), float(clip.fps)), None)

    def moved(self, frames: np.ndarray, fps: float) -> Moved:
        """Of `frames` uint8 [T, H, W, 3]."""
        if len(frames) < 3:
            return Moved(reason="it has less than three frames")
        flow, degrees, change, length = dis(self.spec.preset), [], 0.0, 0.0
        grey, before = _small(frames[0]), None
        for frame in frames[1:]:
            old, grey = grey, _small(frame)
            motion = flow(old, grey)
            degrees.append(_fastest(motion) / min(motion.shape[:2]) * fps)
            if before is not None:
                after = _where_it_leads(motion, before)
                change += float(np.linalg.norm(after - before, axis=-1).sum())
                length += float(sum(np.linalg.norm(x, axis=-1).sum() for x in (before, after)))
            before = motion
        degree = float(np.mean(degrees))
        if degree < STILL:
            return Moved(degree, reason="nothing moves, so there is no smoothness")
        return Moved(degree, 1 - change / length)

    def score(
        self,
        video: Moved,
        audio: None,
        truth: Sequence[Event] | None = None,
        reference: Reference | None = None,
    ) -> dict[str, float]:
        """`flow_degree` and `flow_smoothness`, where they are defined."""
        numbers = {"flow_degree": video.degree, "flow_smoothness": video.smoothness}
        return {name: value for name, value in numbers.items() if value is not None}

    def reason(self, video: Moved, audio: None, reference: Reference | None = None) -> str:
        """Why one or both are left out."""
        return video.reason


def _small(frame: np.ndarray) -> np.ndarray:
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    scale = min(1.0, SIDE / min(grey.shape))
    size = [max(12, round(side * scale)) for side in grey.shape[::-1]]  # DIS needs 12 pixels
    return cv2.resize(grey, size, interpolation=cv2.INTER_AREA)


def _fastest(motion: np.ndarray) -> float:
    """Mean length, in pixels, of the fastest twentieth of [H, W, 2]."""
    lengths = np.linalg.norm(motion, axis=-1).ravel()
    count = max(1, int(FASTEST * len(lengths)))
    return float(np.partition(lengths, -count)[-count:].mean())


def _where_it_leads(motion: np.ndarray, before: np.ndarray) -> np.ndarray:
    """`motion` [H, W, 2] at the places to which `before` leads; at the edge, that of the edge."""
    rows, columns = np.mgrid[: len(motion), : motion.shape[1]].astype(np.float32)
    x, y = columns + before[..., 0], rows + before[..., 1]
    return cv2.remap(motion, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
