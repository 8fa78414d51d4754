"""An anchor that is kept for several steps: when it is made, and what it returns in between."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import torch
from helpers.toy_guidance import codecs
from torch import Tensor

from harmony_parts.anchors.protocol import Scene
from harmony_parts.anchors.refresh import Refresh
from harmony_parts.anchors.static import StaticVideo
from harmony_parts.av import AV
from harmony_parts.testing.contracts.anchors import check_anchor


@attrs.frozen
class Numbered:
    """Latents that say at which step and velocity they were made."""

    stream: str = "video"
    from_estimate: bool = True

    def latents(self, scene: Scene) -> Tensor:
        """step + velocity / 10, and a memory of its own."""
        assert "latents" not in scene.memory
        return torch.full((1, 1, 1, 1, 1), scene.step + scene.velocity / 10)


def made(anchor: Any, steps: int, velocities: int) -> list[float]:
    """What a run of the anchor returns, call by call."""
    memory: dict[str, Any] = {}
    scene = Scene(AV(), AV(), {}, AV(), memory)
    calls = [(s, v) for s in range(steps) for v in range(velocities)]
    return [
        round(float(anchor.latents(attrs.evolve(scene, step=s, velocity=v))), 1) for s, v in calls
    ]


@pytest.mark.parametrize(
    ("every", "each_velocity", "wanted"),
    [
        (1, True, [0.0, 0.1, 1.0, 1.1, 2.0, 2.1, 3.0, 3.1, 4.0, 4.1]),
        (1, False, [0.0, 0.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0]),
        (2, False, [0.0, 0.0, 0.0, 0.0, 2.0, 2.0, 2.0, 2.0, 4.0, 4.0]),
        (2, True, [0.0, 0.1, 0.1, 0.1, 2.0, 2.1, 2.1, 2.1, 4.0, 4.1]),
        (9, False, [0.0] * 10),
    ],
)
def test_an_anchor_is_made_at_every_kth_step(
    every: int, each_velocity: bool, wanted: list[float]
) -> None:
    """Five steps of two velocities each, as Heun's."""
    assert made(Refresh(Numbered(), every, each_velocity), 5, 2) == wanted


def test_it_stands_for_the_anchor_that_it_keeps() -> None:
    check_anchor(Refresh(), codecs())
    kept = Refresh(StaticVideo())
    assert (kept.stream, kept.from_estimate) == ("video", True)
    assert not Refresh(Numbered(from_estimate=False)).from_estimate
