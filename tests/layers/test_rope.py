"""Rotary position embedding."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from harmony_parts.layers.rope import angles, grid_angles, rotate, table


@given(st.floats(-50, 50), st.floats(-50, 50), st.floats(-50, 50), st.integers(1, 8))
def test_rotation_is_relative(i: float, j: float, shift: float, pairs: int) -> None:
    g = torch.Generator().manual_seed(pairs)
    q, k = torch.randn(2, 2 * pairs, generator=g, dtype=torch.float64)

    def score(a: float, b: float) -> torch.Tensor:
        rope = table(angles(torch.tensor([a, b], dtype=torch.float64), pairs).double())
        return rotate(q, rope[0]) @ rotate(k, rope[1])

    # angles are stored in float32: up to 100 radians with 6e-8 relative error, on a score of at
    # most |q| |k|
    assert abs(score(i, j) - score(i + shift, j + shift)) <= 4 * 100 * 6e-8 * q.norm() * k.norm()


def test_rotation_keeps_norms_and_leaves_other_pairs_unchanged() -> None:
    x = torch.randn(3, 10, dtype=torch.float64)
    rotated = rotate(x, table(angles(torch.arange(3), 4).double()))
    torch.testing.assert_close(rotated.norm(dim=-1), x.norm(dim=-1))
    assert torch.equal(rotated[:, 8:], x[:, 8:])


def test_grid_angles_split_the_pairs_as_wan_does() -> None:
    a = grid_angles(torch.arange(2, dtype=torch.float64), 3, 5, 64).view(2, 3, 5, 64)
    # 22 pairs rotate only with time
    assert torch.equal(a[1, :, :, :22], a[1, :1, :1, :22].expand(3, 5, 22))
    assert torch.equal(a[:, 2, :, 22:43], a[:1, 2, :1, 22:43].expand(2, 5, 21))  # 21 with height
    assert torch.equal(a[:, :, 4, 43:], a[:1, :1, 4, 43:].expand(2, 3, 21))  # 21 with width
    assert torch.equal(a[1, 0, 0, :22], angles(torch.tensor(1), 22))
