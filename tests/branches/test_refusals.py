"""Branches refuse sizes and conditions that they can't take."""

from __future__ import annotations

import attrs
import pytest
from helpers.small_denoiser import CODECS

from harmony_parts.branches.cross_audio import CrossAudio
from harmony_parts.branches.mmdit import MMDiT
from harmony_parts.branches.video_transformer import VideoTransformer
from harmony_parts.denoisers.dual_branch import DualBranch
from harmony_parts.errors import AssemblyError
from harmony_parts.testing.stand_ins import StubEncoder


def test_the_cross_branch_takes_no_reference() -> None:
    with pytest.raises(AssemblyError, match="voice"):
        DualBranch(
            layers=1, video=VideoTransformer(24, 2, 32, 1), audio=CrossAudio(16, 2, 32)
        ).build(codecs=CODECS, encoders={"x": StubEncoder(voice=8)})


def test_a_grid_that_does_not_split_into_patches_is_refused() -> None:
    with pytest.raises(ValueError, match="2 x 2 don't split into patches of 3 x 3"):
        DualBranch(
            layers=1, video=VideoTransformer(24, 2, 32, patch=3), audio=MMDiT(16, 2, 32)
        ).build(codecs=CODECS, encoders={})


def test_heads_must_have_an_even_width() -> None:
    with pytest.raises(ValueError, match="even width"):
        attrs.evolve(MMDiT(16, 2, 32), heads=3)
