"""RAFT's optical flow, and VBench's dynamic degree from it."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise

import attrs
import torch
from torch import Tensor
from torch.nn.functional import pad
from torchvision.models.optical_flow import raft_large

from harmony_parts.av import AV, Event
from harmony_parts.errors import BrokenPart
from harmony_parts.media.clip import Clip
from harmony_parts.metrics.protocol import Metric, Reference
from harmony_parts.models.external_weights import describe_weights, weights_file
from harmony_parts.plugin import knob

FPS = 8  # a second, at which VBench compares frames
UPDATES = 20  # of the flow
FASTEST = 0.05  # share of the pixels whose motion counts
SPEED = 6 / 256  # shorter sides of the picture between two such frames
LASTING = 4 / 16  # share of the frames after which so much must move
SMALLEST = 128  # pixels, which RAFT's correlations over four scales need
PUBLISHED = (
    "https://download.pytorch.org/models/raft_large_C_T_V1-22a6c225.pth (ported from the original's"
    " raft-things.pth; BSD-3-Clause)"
)

Flow = Callable[[Tensor, Tensor], Tensor]
"""From two pictures float32 [1, 3, H, W], 0..255, to the motion [1, 2, H, W] in pixels."""


@attrs.frozen
class RAFT:
    """`dynamic_degree`: 1 if a clip moves, 0 if not; its mean over clips is VBench's number.

    As VBench has it: every round(fps / 8)th frame, padded to a multiple of 8 by repeating its
    edges; RAFT's flow after 20 updates from each to the next; the mean length of its longest 5 %.
    It moves if this exceeds 6 pixels for each 256 of the shorter side (times 8 / fps below 8 fps),
    after a quarter of the frames or more. The network is torchvision's `raft_large`.
    """

    weights: str = knob(
        help='file of torchvision\'s weights, or of a model on the Hub, "owner/name/FILE"',
        validator=attrs.validators.min_len(1),
    )

    def build(self, *, device: torch.device | str = "cpu") -> Metric:
        """The metric, its network on `device`.

        Prints name, licence and sha256 of the weights on the standard error. Raises BrokenPart if
        they are absent or of another network.
        """
        file = weights_file(self.weights, PUBLISHED)
        with torch.random.fork_rng(devices=()):
            network = raft_large()
        try:
            network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
        except (RuntimeError, TypeError, pickle.UnpicklingError) as error:
            raise BrokenPart(f"{file}: these aren't raft_large's weights: {error}") from error
        print(describe_weights(self.weights, [file], "BSD-3-Clause"), file=sys.stderr)
        network.eval().to(device)

        @torch.inference_mode()
        def flow(one: Tensor, two: Tensor) -> Tensor:
            pictures = [each.to(device) / 127.5 - 1 for each in (one, two)]
            return network(*pictures, num_flow_updates=UPDATES)[-1].float().cpu()

        return DynamicDegree(self, flow)


@attrs.frozen(eq=False)
class Motion:
    """Of each pair of frames: the mean length [N] of its longest motions, over what counts as fast.
    `reason` says why there is none.
    """

    speeds: Tensor = attrs.field(factory=lambda: torch.zeros(0))
    reason: str = ""


@attrs.frozen(eq=False)
class DynamicDegree:
    """The metric of `RAFT`."""

    spec: RAFT
    flow: Flow
    reads: tuple[str, ...] = ("video",)

    def analyse(self, clip: Clip) -> AV[Motion]:
        """How fast it moves from each compared frame to the next."""
        if clip.frames is None:
            return AV(None, None)
        return AV(self._motion(clip.frames, float(clip.fps)), None)

    def _motion(self, frames: Tensor, fps: float) -> Motion:
        compared = frames[:: max(1, round(fps / FPS))]
        side = min(frames.shape[1:3])
        if side < SMALLEST - 7:
            return Motion(reason=f"the picture is smaller than {SMALLEST} x {SMALLEST}")
        if _lasting(len(compared)) < 1 or len(compared) < 2:
            return Motion(reason="the picture is too short")
        fast = max(1.0, FPS / fps) * SPEED * side
        pictures = (padded(each.permute(2, 0, 1)[None].float()) for each in compared)
        lengths = [longest(self.flow(*pair)) for pair in pairwise(pictures)]
        return Motion(torch.tensor(lengths) / fast)

    def score(
        self,
        video: Motion,
        audio: None,
        truth: Sequence[Event] | None = None,
        reference: Reference | None = None,
    ) -> dict[str, float]:
        """`dynamic_degree`."""
        if video.reason:
            return {}
        fast = int((video.speeds > 1).sum())
        return {"dynamic_degree": float(fast >= _lasting(len(video.speeds) + 1))}

    def reason(self, video: Motion, audio: None, reference: Reference | None = None) -> str:
        """Why there is no number."""
        return video.reason


def _lasting(frames: int) -> int:
    return round(LASTING * frames)


def padded(picture: Tensor) -> Tensor:
    """[1, 3, H, W] to multiples of 8, its edges repeated, the picture in the middle."""
    down, right = (-side % 8 for side in picture.shape[-2:])
    edges = (right // 2, right - right // 2, down // 2, down - down // 2)
    return pad(picture, edges, mode="replicate")


def longest(flow: Tensor) -> float:
    """Mean length, in pixels, of the longest motions of [1, 2, H, W]."""
    lengths = flow.square().sum(1).sqrt().flatten()
    return float(lengths.topk(int(FASTEST * len(lengths))).values.mean())
