"""Style starts without effect on the reference, and then is what its equation says."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import Tensor

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


def normed(x: Tensor, centred: bool = True) -> Tensor:
    """Over the last axis, with 1e-6 added to the variance."""
    x = x - x.mean(-1, keepdim=True) if centred else x
    return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt()


def cross(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """Attention [N, D] of queries [N, D] to keys and values [M, D], head by head."""
    parts = zip(q.chunk(heads, -1), k.chunk(heads, -1), v.chunk(heads, -1), strict=True)
    return torch.cat([(a @ b.T / a.shape[1] ** 0.5).softmax(-1) @ c for a, b, c in parts], dim=-1)


@pytest.mark.parametrize("spec", [StyleAlignment(), StyleTokens(tokens=3)], ids=repr)
@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_the_residual_is_that_of_the_equation(spec: Any, scale: float) -> None:
    """In float64; faint tokens show what the norms add to a variance."""
    branches, generator = make_branches(None), torch.Generator().manual_seed(0)
    style = spec.build(branches=branches).double()
    random = functools.partial(torch.randn, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        for name, weight in style.named_parameters():
            if "norm" not in name:
                weight.copy_(random(*weight.shape) * (scale if name.endswith("bias") else 1))
    reference = random(3, branches["audio"].width) * scale
    video = random(4, 5, branches["video"].width) * scale
    w = style.heads if isinstance(spec, StyleAlignment) else style
    seen = normed(video.flatten(0, 1))
    if isinstance(spec, StyleTokens):
        seen = cross(style.tokens, seen, seen, branches["video"].heads)
    q, k, v = w.q(normed(reference)), w.k(seen), w.v(seen)
    read = cross(normed(q, centred=False), normed(k, centred=False), v, branches["audio"].heads)
    expected = w.o(read)
    torch.testing.assert_close(style(reference[None], video[None])[0], expected, rtol=1e-9, atol=0)
