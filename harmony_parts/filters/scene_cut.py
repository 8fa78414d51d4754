"""Whether a clip has a cut between two scenes."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from harmony_parts.av import AV
from harmony_parts.data.protocol import Example
from harmony_parts.plugin import knob

GRID = 16  # cells along an edge of a picture that are compared
OUTLIER = 3.0  # a cut changes so many times more than the median of the frames around it
LASTS = 0.4  # s, for which the picture stays different; a flash is over by then


def _cells(frames: Tensor) -> Tensor:
    """[T, cells]: frames uint8 [T, H, W, 3] averaged over a grid, 0 to 1, so that noise and small
    motion count little.
    """
    grid = min(GRID, *frames.shape[1:3])
    means = [adaptive_avg_pool2d(f.permute(2, 0, 1).float(), (grid, grid)) for f in frames]
    return torch.stack(means).flatten(1) / 255


def largest_cut(frames: Tensor, fps: float) -> float:
    """The largest mean change of the picture that is a cut, 0 if there is none.

    It is an outlier among the changes around it, and the picture before it doesn't come back.
    """
    cells, after = _cells(frames), max(1, round(LASTS * fps))
    change = (cells[1:] - cells[:-1]).abs().mean(1)
    largest = 0.0
    for k in range(len(change)):
        around = torch.cat([change[max(0, k - after) : k], change[k + 1 : k + 1 + after]])
        usual = float(around.median()) if len(around) else 0.0
        if float(change[k]) > OUTLIER * usual:
            lasting = (cells[k + 1 : k + 2 + after] - cells[k]).abs().mean(1).min()
            largest = max(largest, float(lasting))
    return largest


@attrs.frozen
class SceneCut:
    """Drops clips in which two consecutive frames differ by more than `change`, by three times more
    than the median of the pairs around them, and for at least 0.4 s: motion or a flash is no cut.
    """

    change: float = knob(
        0.12,
        help="smallest mean change of the picture that may be a cut, 1 being black to white",
        off=1.0,
        validator=[attrs.validators.gt(0), attrs.validators.le(1)],
    )
    reads = ("video",)

    def build(self, *, device: torch.device | str = "cpu") -> SceneCut:
        """This object."""
        return self

    def analyse(self, example: Example) -> AV[float]:
        """The largest change that is a cut."""
        clip = example.clip
        if clip.frames is None or len(clip.frames) < 2:
            return AV(video=0.0)
        return AV(video=largest_cut(clip.frames, float(clip.fps)))

    def fault(self, video: float | None, audio: object) -> str | None:
        """A cut."""
        return "has a scene cut" if video is not None and video > self.change else None
