"""The contract of branches holds for those that ship."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import attrs
import pytest
import torch

from harmony_parts.branches.cross_audio import CrossAudio
from harmony_parts.branches.mmdit import MMDiT
from harmony_parts.branches.video_transformer import VideoTransformer
from harmony_parts.testing.contracts.branches import check_audio_branch, check_video_branch

VIDEO = VideoTransformer(width=24, heads=2, feed=32, patch=4)
MMDIT = MMDiT(width=16, heads=2, feed=32)
CROSS = CrossAudio(width=16, heads=2, feed=32)


@pytest.mark.parametrize(
    "spec",
    [VIDEO, attrs.evolve(VIDEO, patch=1), attrs.evolve(VIDEO, patch=2, precision="weights")],
    ids=repr,
)
def test_video_branches_keep_the_contract(spec: VideoTransformer) -> None:
    check_video_branch(spec)


@pytest.mark.parametrize(
    "spec",
    [
        *(attrs.evolve(s, precision=p) for s in (MMDIT, CROSS) for p in ("float32", "weights")),
        attrs.evolve(MMDIT, weights="separate"),
    ],
    ids=repr,
)
def test_audio_branches_keep_the_contract(spec: MMDiT | CrossAudio) -> None:
    # a voice is among the default conditions if the branch takes one
    assert (check_audio_branch(spec).listener.ways.get("voice") is None) == isinstance(
        spec, CrossAudio
    )


def test_other_conditions_can_be_passed() -> None:
    assert check_video_branch(
        VIDEO, conditions={"pose": ("context", 3)}, channels=2, grid=(4, 4), latents=2
    ).listener.ways == {"pose": "context"}


@attrs.frozen
class WithDropout:
    """The video branch with dropout after each self-attention."""

    def build(self, *, channels: int, grid: tuple[int, ...], conditions: Any) -> Any:
        """The built-in branch, with other layers."""
        branch: Any = VIDEO.build(channels=channels, grid=grid, conditions=conditions)
        new_block = branch.block

        def block() -> Any:
            layer: Any = new_block()
            attention, layer.dropout = layer.apply_self_attention, torch.nn.Dropout(0.5)

            def apply_self_attention(tokens: Any) -> Any:
                tokens = attention(tokens)
                return replace(tokens, hidden=layer.dropout(tokens.hidden))

            layer.apply_self_attention = apply_self_attention
            return layer

        branch.block = block
        return branch


def test_branches_are_checked_in_evaluation_mode() -> None:
    """A branch may have dropout in training."""
    check_video_branch(WithDropout())
