"""RAFT: VBench's rule on known motions, and what the network gets."""

from __future__ import annotations

import attrs
import numpy as np
import pytest
import torch
from harmony_bench.raft import RAFT, DynamicDegree, longest, padded
from small import clip
from torch.nn.modules.module import register_module_forward_pre_hook
from torchvision.models.optical_flow import Raft_Large_Weights
from torchvision.models.optical_flow.raft import RAFT as Network

from harmony_parts.errors import BrokenPart
from harmony_parts.media.clip import Clip
from harmony_parts.testing.contracts.metrics import check_metric


def constant(pixels):
    """A flow that says so many pixels to the right everywhere."""
    return lambda one, two: torch.stack(
        (torch.full_like(one[:, 0], pixels), torch.zeros_like(one[:, 0])), 1
    )


@attrs.frozen
class Spec:
    """Builds the metric over a known flow: the network's takes seconds a clip."""

    pixels: float = 7.0

    def build(self, *, device="cpu"):
        return DynamicDegree(RAFT("x"), constant(self.pixels))


def test_contract():
    check_metric(Spec(), clips=[clip(side=128)])


def degree(pixels: float, frames: int = 17, side: int = 256, fps: float = 8) -> dict[str, float]:
    metric = Spec(pixels).build()
    what = Clip(torch.zeros(frames, side, side + 40, 3, dtype=torch.uint8), fps)
    return metric.score(metric.analyse(what).video, None)


@pytest.mark.parametrize(
    ("pixels", "given", "expected"),
    [
        (5.9, {}, 0), (6.1, {}, 1),
        (11.9, {"side": 512}, 0), (12.1, {"side": 512}, 1),
        (11.9, {"fps": 4}, 0), (12.1, {"fps": 4}, 1),
        (5.9, {"fps": 24, "frames": 49}, 0), (6.1, {"fps": 24, "frames": 49}, 1),
    ],
)  # fmt: skip
def test_the_threshold_follows_size_and_rate(pixels, given, expected):
    assert degree(pixels, **given) == {"dynamic_degree": expected}


@pytest.mark.parametrize(("moving", "expected"), [(3, 0), (4, 1)])
def test_a_quarter_of_the_frames_must_move(moving, expected):
    """16 compared frames: 4 of the 15 pairs."""
    pairs = iter([9.0] * moving + [0.0] * (15 - moving))
    metric = DynamicDegree(RAFT("x"), lambda one, two: constant(next(pairs))(one, two))
    found = metric.analyse(Clip(torch.zeros(16, 128, 128, 3, dtype=torch.uint8), 8))
    assert metric.score(found.video, None)["dynamic_degree"] == expected


def test_every_third_frame_of_24_a_second_is_compared():
    frames = torch.arange(25, dtype=torch.uint8)[:, None, None, None].repeat(1, 128, 128, 3)
    seen = []

    def flow(one, two):
        seen.append((float(one.mean()), float(two.mean())))
        return constant(0.0)(one, two)

    DynamicDegree(RAFT("x"), flow).analyse(Clip(frames, 24))
    assert seen == [(3.0 * k, 3.0 * k + 3) for k in range(8)]


def test_pictures_are_padded_by_their_edges_about_the_middle():
    picture = torch.arange(3 * 130 * 133).reshape(1, 3, 130, 133).float()
    found = padded(picture)
    assert found.shape == (1, 3, 136, 136)
    expected = np.pad(picture.numpy(), ((0, 0), (0, 0), (3, 3), (1, 2)), mode="edge")
    assert np.array_equal(found.numpy(), expected)
    assert padded(picture[..., :128, :128]).shape[-2:] == (128, 128)


def test_the_longest_twentieth_counts():
    """Against sorting all lengths."""
    flow = torch.randn(1, 2, 40, 30, generator=torch.Generator().manual_seed(0))
    lengths = np.sort(np.hypot(*flow[0].numpy()).ravel())[::-1]
    assert longest(flow) == pytest.approx(lengths[:60].mean(), rel=1e-5)


def test_the_network_gets_what_torchvision_prepares(raft):
    """-1..1, as the weights' own transforms make of it; its flow has a pair for each pixel."""
    metric, seen = RAFT(str(raft)).build(), []
    hook = register_module_forward_pre_hook(
        lambda module, given: seen.append(given) if isinstance(module, Network) else None
    )
    pictures = clip(side=128).frames[:2].permute(0, 3, 1, 2)
    found = metric.flow(*(each[None].float() for each in pictures))
    hook.remove()
    assert found.shape == (1, 2, 128, 128)
    assert found.isfinite().all()
    expected = Raft_Large_Weights.C_T_V1.transforms()(pictures[:1], pictures[1:])
    for mine, theirs in zip(seen[0], expected):
        assert torch.allclose(mine, theirs, atol=1e-6)


def test_it_is_too_short_or_too_small_to_tell():
    metric = Spec().build()
    for shape, reason in (((2, 128, 128, 3), "too short"), ((20, 100, 200, 3), "smaller than")):
        found = metric.analyse(Clip(torch.zeros(shape, dtype=torch.uint8), 8)).video
        assert metric.score(found, None) == {}
        assert reason in metric.reason(found, None)


def test_other_weights_are_refused(tmp_path):
    torch.save({"a": torch.zeros(1)}, tmp_path / "x.pth")
    (tmp_path / "y.pth").write_bytes(b"no weights")
    for name in ("x.pth", "y.pth"):
        with pytest.raises(BrokenPart, match="aren't raft_large's weights"):
            RAFT(str(tmp_path / name)).build()
