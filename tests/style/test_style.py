"""Style starts without effect on the reference."""

from __future__ import annotations

import pytest
import torch

from harmony_parts.style.alignment import StyleAlignment
from harmony_parts.style.none import NoStyle
from harmony_parts.style.tokens import StyleTokens
from harmony_parts.testing.contracts.layers import make_branches


@pytest.mark.parametrize("spec", [StyleAlignment(), StyleTokens(), NoStyle()], ids=repr)
def test_the_residual_starts_at_zero(
    spec: StyleAlignment | StyleTokens | NoStyle,
) -> None:
    branches = make_branches(None)
    style = spec.build(branches=branches)
    reference = torch.randn(2, 3, branches["audio"].width)
    video = torch.randn(2, 4, 5, branches["video"].width)
    assert torch.equal(style(reference, video), torch.zeros_like(reference))
