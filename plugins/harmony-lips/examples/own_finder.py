"""Lip sync with a face finder of your own, and the reason if no offset can be measured."""

import numpy as np
from harmony_lips.lips import Lips, LipSync

from harmony_parts.media.clip import Clip


def lower_middle(frame: np.ndarray) -> np.ndarray:
    """Mouth boxes [N, 4] in a frame uint8 [H, W, 3]: left, top, right, bottom in pixels."""
    height, width = frame.shape[:2]
    return np.array([(0.38 * width, 0.52 * height, 0.62 * width, 0.69 * height)])


def describe_sync(clip: Clip) -> str:
    """The offset of a clip's sound in words."""
    metric = LipSync(Lips(), finder=lower_middle)
    found = metric.analyse(clip)
    numbers = metric.score(found.video, found.audio)
    if "lip_offset_ms" not in numbers:
        return f"can't tell: {metric.reason(found.video, found.audio)}"
    return f"the sound is {numbers['lip_offset_ms']:+.0f} ms late"
