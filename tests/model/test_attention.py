"""Local cross-attention, its windows, and rotary positions."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harmony_parts.attention.eager import Eager
from harmony_parts.attention.protocol import Windows
from harmony_parts.attention.reference import Reference
from harmony_parts.attention.windows import windows
from harmony_parts.rope import angles, grid_angles, rotate, table


def clock(n: int, rate: float, first: float | None = None) -> torch.Tensor:
    """n latents at `rate` a second; a causal codec's first one lasts `first` seconds."""
    edges = torch.arange(n + 1, dtype=torch.float64) / rate
    if first is not None:
        edges = (edges - 1 / rate + first).clamp(min=0)
    return torch.stack((edges[:-1], edges[1:]), dim=1)


counts = st.integers(1, 12)
rates = st.floats(0.7, 40)


@given(counts, counts, rates, rates, st.floats(0, 2), st.booleans())
def test_windows_hold_what_overlaps(n: int, m: int, rate: float, other: float, reach: float, causal: bool) -> None:
    queries, keys = clock(n, rate, 0.25 / rate if causal else None), clock(m, other)
    mask = windows(queries, keys, reach).mask(m)
    overlap = (keys[None, :, 1] > queries[:, None, 0] - reach) & (keys[None, :, 0] < queries[:, None, 1] + reach)
    assert torch.equal(mask, overlap)


@given(counts, rates, rates, st.floats(0, 0.5))
def test_windows_leave_nobody_out(n: int, rate: float, other: float, reach: float) -> None:
    seconds = n / rate
    keys = clock(max(1, int(seconds * other)), other)
    seen = windows(clock(n, rate), keys, reach).mask(len(keys)).any(0)
    assert seen[keys[:, 0] < seconds - 1e-9].all()


def test_windows_refuse_a_negative_reach() -> None:
    with pytest.raises(ValueError, match=r"-0\.1"):
        windows(clock(2, 1), clock(2, 1), -0.1)


@st.composite
def problems(draw: st.DrawFn) -> tuple:
    """q, k, v, windows (some empty, all contiguous and monotone) and angles, in float64."""
    b, tq, sq, tk, sk, h = (draw(st.integers(1, n)) for n in (2, 5, 3, 6, 3, 2))
    d = 2 * draw(st.integers(1, 4))
    g = torch.Generator().manual_seed(draw(st.integers(0, 999)))
    start = torch.tensor(sorted(draw(st.lists(st.integers(0, tk), min_size=tq, max_size=tq))))
    end = torch.tensor(sorted(draw(st.lists(st.integers(0, tk), min_size=tq, max_size=tq)))).maximum(start)
    q, k, v = (torch.randn(b, t, s, h, d, generator=g, dtype=torch.float64) for t, s in ((tq, sq), (tk, sk), (tk, sk)))
    return q, k, v, Windows(start, end), angles(torch.arange(tq), d // 2), angles(torch.arange(tk) * 0.7, d // 2)


@given(problems())
def test_eager_is_the_reference(problem: tuple) -> None:
    q, k, v, *rest = problem
    results = []
    for attention in (Reference(), Eager()):
        leaves = [x.clone().requires_grad_() for x in (q, k, v)]
        out = attention(*leaves, *rest)
        out.square().sum().backward()
        results.append([out, *(leaf.grad for leaf in leaves)])
    for mine, theirs in zip(*results):
        assert torch.isfinite(mine).all()
        # both sum at most 18 products of numbers of about 1 in float64
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


@given(problems(), st.sampled_from([Reference(), Eager()]))
def test_nothing_outside_a_window_is_heard(problem: tuple, attention: Reference | Eager) -> None:
    q, k, v, seen, *angle = problem
    out = attention(q, k, v, seen, *angle)
    mask = seen.mask(k.shape[1])
    assert (out[:, ~mask.any(1)] == 0).all()
    for key in range(k.shape[1]):
        k2, v2 = k.clone(), v.clone()
        k2[:, key], v2[:, key] = 7.0, -3.0
        changed = attention(q, k2, v2, seen, *angle)
        assert torch.equal(changed[:, ~mask[:, key]], out[:, ~mask[:, key]])


@given(st.floats(-50, 50), st.floats(-50, 50), st.floats(-50, 50), st.integers(1, 8))
def test_rotation_is_relative(i: float, j: float, shift: float, pairs: int) -> None:
    g = torch.Generator().manual_seed(pairs)
    q, k = torch.randn(2, 2 * pairs, generator=g, dtype=torch.float64)

    def score(a: float, b: float) -> torch.Tensor:
        turn = table(angles(torch.tensor([a, b], dtype=torch.float64), pairs).double())
        return rotate(q, turn[0]) @ rotate(k, turn[1])

    # angles are stored in float32: up to 100 radians with 6e-8 relative error, on a score of at most |q| |k|
    assert abs(score(i, j) - score(i + shift, j + shift)) <= 4 * 100 * 6e-8 * q.norm() * k.norm()


def test_rotation_keeps_norms_and_passes_the_rest_through() -> None:
    x = torch.randn(3, 10, dtype=torch.float64)
    turned = rotate(x, table(angles(torch.arange(3), 4).double()))
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    assert torch.equal(turned[:, 8:], x[:, 8:])


def test_grid_angles_split_the_pairs_as_wan_does() -> None:
    a = grid_angles(torch.arange(2, dtype=torch.float64), 3, 5, 64).view(2, 3, 5, 64)
    assert torch.equal(a[1, :, :, :22], a[1, :1, :1, :22].expand(3, 5, 22))  # 22 pairs turn with time alone
    assert torch.equal(a[:, 2, :, 22:43], a[:1, 2, :1, 22:43].expand(2, 5, 21))  # 21 with height
    assert torch.equal(a[:, :, 4, 43:], a[:1, :1, 4, 43:].expand(2, 3, 21))  # 21 with width
    assert torch.equal(a[1, 0, 0, :22], angles(torch.tensor(1), 22))
