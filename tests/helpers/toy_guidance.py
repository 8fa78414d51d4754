"""A small Gaussian denoiser, anchors and guidances for tests of guidance and sampling."""

from __future__ import annotations

from typing import Any

import attrs
import torch
from torch import Tensor

from harmony_parts.anchors.protocol import Scene
from harmony_parts.av import AV, Condition, Format
from harmony_parts.codecs.dct import DCTVideo
from harmony_parts.codecs.logmel import LogMel
from harmony_parts.flow.euler import Euler
from harmony_parts.flow.shift import ConstantShift
from harmony_parts.flow.straight import StraightPath
from harmony_parts.guidance.none import NoGuidance
from harmony_parts.guidance.protocol import CONDITIONAL, Pass, Predictions, StepTimes, conditional
from harmony_parts.guidance.scales import TEXT
from harmony_parts.guidance.sync_cfg import SyncCFG
from harmony_parts.sample.sampler import sample
from harmony_parts.testing.gaussian_denoiser import GaussianDenoiser

VIDEO, AUDIO = (2, 1, 1, 2), (3, 1)  # [T, H, W, C], [T, C]
SIZE = 4 + 3


def gaussian(seed: int = 0, hints: tuple[str, ...] = ()) -> GaussianDenoiser:
    """The denoiser for correlated Gaussian data, in float64."""
    random = torch.Generator().manual_seed(seed)
    root = torch.randn(SIZE, SIZE, dtype=torch.float64, generator=random)
    covariance = root @ root.T / SIZE + 0.3 * torch.eye(SIZE, dtype=torch.float64)
    return GaussianDenoiser(
        VIDEO, AUDIO, torch.randn(SIZE, dtype=torch.float64, generator=random), covariance, hints
    )


def latents(n: int = 4, seed: int = 1) -> AV[Tensor]:
    """Standard normal latents of both streams, float64."""
    random = torch.Generator().manual_seed(seed)
    return AV(
        *(torch.randn(n, *shape, dtype=torch.float64, generator=random) for shape in (VIDEO, AUDIO))
    )


def caption(n: int = 4, seed: int = 2) -> dict[str, Condition]:
    """A caption that shifts the mean; its null form doesn't."""
    tokens = torch.randn(
        n, 1, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )
    mask = torch.ones(n, 1, dtype=torch.bool)
    return {"caption": Condition(tokens, mask, Condition(torch.zeros_like(tokens), mask))}


def codecs() -> AV:
    """The built-in codecs for 16 x 16 pixels at 8 frames per second, and audio at 16 kHz."""
    small = Format(fps=8, height=16, width=16, sample_rate=16000, seconds=1)
    return AV(DCTVideo().build(format=small), LogMel().build(format=small))


@attrs.frozen
class Constant:
    """An anchor with a constant value."""

    stream: str
    value: float = 0.0
    from_estimate: bool = False

    def latents(self, scene: Scene) -> Tensor:
        """Latents of the stream's shape."""
        return torch.full_like(scene.latents[self.stream], self.value)


@attrs.frozen
class Estimate:
    """The current clean estimate as the anchor."""

    stream: str
    from_estimate: bool = True

    def latents(self, scene: Scene) -> Tensor:
        """Latents of the stream's shape."""
        assert scene.estimate is not None
        return scene.estimate[self.stream]


@attrs.frozen
class Same:
    """The current stream as the anchor."""

    stream: str
    from_estimate: bool = True  # it changes at every step

    def latents(self, scene: Scene) -> Tensor:
        """Latents of the stream's shape."""
        return scene.latents[self.stream]


@attrs.frozen
class Counting:
    """CFG that drops another condition, with a larger scale, at every step.

    Its state is the number of finished steps.
    """

    def passes(self, times: StepTimes, state: Any) -> list[Pass]:
        k = state or 0
        return [
            conditional(times),
            Pass(f"without {k}", times, drop=(TEXT[k % len(TEXT)],), read=times.generated()),
        ]

    def combine(self, preds: Predictions, times: StepTimes, state: Any) -> tuple[AV[Tensor], Any]:
        own, k = preds[CONDITIONAL].only(times.generated()), state or 0
        return (
            own.map(lambda v, without: torch.lerp(without, v, 2.0 + k), preds[f"without {k}"]),
            k + 1,
        )


SYNC = SyncCFG(3, 2, mute=Constant("audio"), static=Estimate("video"))


def make(denoiser: Any, noise: AV[Tensor], conditions: Any = None, **more: Any) -> AV[Tensor]:
    settings: dict[str, Any] = {
        "codecs": AV(),
        "guidance": NoGuidance(),
        "solver": Euler(),
        "shift": ConstantShift(3.0),
        "path": StraightPath(),
        "together": 0,
    }
    return sample(denoiser, noise, conditions or {}, **settings | {"steps": 4} | more)


def flat(av: AV[Tensor]) -> Tensor:
    return torch.cat([av[s].flatten(1) for s in av], dim=1)
