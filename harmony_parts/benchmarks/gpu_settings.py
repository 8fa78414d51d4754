"""Kernel settings to compare on a GPU: `python -m harmony_parts.benchmarks.gpu_tasks tune`.

Each is (tile, warps, stages, parts of a frame). The first of a kernel is the default; the next ones
spill no registers on sm_90 with windows of one tile (three of them do with two) and are to be
compared first. Which one is faster isn't known yet.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple


class Setting(NamedTuple):
    """How one of the per-frame kernels is launched."""

    tile: int  # tokens of a frame
    warps: int
    stages: int
    split: int = 1  # programs per frame and head


SETTINGS: dict[str, tuple[Setting, ...]] = {
    "frames_read_backward": (
        Setting(32, 4, 2), Setting(32, 4, 3), Setting(32, 4, 4), Setting(64, 4, 3),
        Setting(32, 4, 3, 2), Setting(64, 8, 2), Setting(32, 8, 2), Setting(16, 4, 3),
    ),
    "latents_read_backward": (
        Setting(32, 4, 2), Setting(32, 4, 3), Setting(32, 4, 4), Setting(64, 4, 2),
        Setting(32, 4, 2, 2), Setting(64, 8, 2), Setting(32, 2, 3),
    ),
    "latents_read_forward": (
        Setting(64, 4, 3), Setting(64, 4, 2), Setting(32, 4, 3), Setting(64, 4, 3, 2),
        Setting(32, 4, 4), Setting(128, 8, 2),
    ),
    "frames_read_forward": (
        Setting(64, 4, 3), Setting(64, 4, 2), Setting(32, 4, 3), Setting(64, 4, 3, 2),
        Setting(64, 4, 2, 2), Setting(128, 8, 2),
    ),
}  # fmt: skip
"""Kernel -> settings; the kernel that is expected to miss its target comes first."""

VIDEO_TENSORS = {
    "frames_read_forward": 2,
    "frames_read_backward": 3,
    "latents_read_forward": 2,
    "latents_read_backward": 4,
}
"""Kernel -> how many tensors of the video's size it must read or write."""

REACHES = (0.15, 0.17)
"""Seconds of the windows: 16 latents meet a frame, which is one tile, or 17, padded to 32."""


def runs() -> Iterator[tuple[str, float, Setting]]:
    """Every kernel with each setting and each window, the window of one tile first."""
    for reach in REACHES:
        for kernel, settings in SETTINGS.items():
            yield from ((kernel, reach, setting) for setting in settings)
