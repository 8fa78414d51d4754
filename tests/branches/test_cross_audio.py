"""Ovi's audio branch: sizes that its checkpoints have."""

from __future__ import annotations

import pytest
import torch

from harmony_parts.branches.cross_audio import GatedConv


@pytest.mark.parametrize(("width", "inner"), [(24, 256), (96, 256), (97, 512), (3072, 8192)])
def test_the_gated_convolution_is_wide_by_eight_thirds(width: int, inner: int) -> None:
    """Rounded up to a multiple of 256; 8/3 of 96 is 256, and of 3072 it is 8192."""
    with torch.device("meta"):
        conv = GatedConv(width)
    assert conv.out.in_channels == conv.up.out_channels == conv.gate.out_channels == inner
