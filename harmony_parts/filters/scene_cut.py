"""Whether a clip has a cut between two scenes."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from harmony_parts.av import AV
from harmony_parts.data.protocol import Example
from harmony_parts.plugin import knob

GRID = 16  # pixels: cells of a picture that are compared
OUTLIER = 3.0  # a cut changes so many times more than the frames beside it


def changes(frames: Tensor) -> Tensor:
    """[T - 1]: the mean change of brightness and colour between consecutive frames, 0 to 1.

    Frames uint8 [T, H, W, 3] are averaged over a grid of cells first, so that noise and small
    motion count little.
    """
    small = torch.stack(
        [adaptive_avg_pool2d(f.permute(2, 0, 1).float(), (min(GRID, len(f)),) * 2) for f in frames]
    )
    return (small[1:] - small[:-1]).abs().mean(dim=(1, 2, 3)) / 255


@attrs.frozen
class SceneCut:
    """Drops clips in which two consecutive frames differ by more than `change`, and by three times
    more than the pairs of frames before and after them: so a flash or fast motion is no cut.
    """

    change: float = knob(
        0.08,
        help="smallest mean change of the picture that may be a cut, 1 being black to white",
        off=1.0,
        validator=[attrs.validators.gt(0), attrs.validators.le(1)],
    )
    reads = ("video",)

    def build(self, *, device: torch.device | str = "cpu") -> SceneCut:
        """This object."""
        return self

    def analyse(self, example: Example) -> AV[float]:
        """The largest change that is an outlier, 0 if none is."""
        frames = example.clip.frames
        if frames is None or len(frames) < 2:
            return AV(video=0.0)
        change = changes(frames)
        beside = torch.stack(
            [torch.cat([change[:1] * 0, change[:-1]]), torch.cat([change[1:], change[:1] * 0])]
        ).amax(0)
        return AV(video=float(torch.where(change > OUTLIER * beside, change, 0.0).max()))

    def fault(self, video: float | None, audio: object) -> str | None:
        """A cut."""
        return "has a scene cut" if video is not None and video > self.change else None
