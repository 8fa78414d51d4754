"""Attention windows from clocks."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harmony_parts.attention.protocol import Windows
from harmony_parts.attention.windows import windows


def clock(n: int, rate: float, first: float | None = None) -> torch.Tensor:
    """n latents at `rate` a second; a causal codec's first one lasts `first` seconds."""
    edges = torch.arange(n + 1, dtype=torch.float64) / rate
    if first is not None:
        edges = (edges - 1 / rate + first).clamp(min=0)
    return torch.stack((edges[:-1], edges[1:]), dim=1)


counts = st.integers(1, 12)
rates = st.floats(0.7, 40)


@given(counts, counts, rates, rates, st.floats(0, 2), st.booleans())
def test_windows_contain_exactly_the_overlapping_keys(
    n: int, m: int, rate: float, other: float, reach: float, causal: bool
) -> None:
    queries, keys = clock(n, rate, 0.25 / rate if causal else None), clock(m, other)
    mask = windows(queries, keys, reach).mask(m)
    overlap = (keys[None, :, 1] > queries[:, None, 0] - reach) & (
        keys[None, :, 0] < queries[:, None, 1] + reach
    )
    assert torch.equal(mask, overlap)


@given(counts, rates, rates, st.floats(0, 0.5))
def test_every_covered_key_is_in_some_window(
    n: int, rate: float, other: float, reach: float
) -> None:
    seconds = n / rate
    keys = clock(max(1, int(seconds * other)), other)
    seen = windows(clock(n, rate), keys, reach).mask(len(keys)).any(0)
    assert seen[keys[:, 0] < seconds - 1e-9].all()


@given(counts, counts, rates, rates, st.floats(0, 2))
def test_windows_have_the_right_sizes_and_inverse(
    n: int, m: int, rate: float, other: float, reach: float
) -> None:
    made = windows(clock(n, rate), clock(m, other), reach)
    mask = made.mask(m)
    assert torch.equal(mask, Windows.of(made.of_key[:, 0], made.of_key[:, 1], n).mask(n).T)
    assert (made.most_keys, made.most_queries) == (int(mask.sum(1).max()), int(mask.sum(0).max()))
    assert made.to("meta").most_keys == made.most_keys


@pytest.mark.parametrize(
    ("start", "end"),
    [([0, 0], [3, 2]), ([1, 0], [2, 2]), ([0, 0], [2, 4]), ([-1, 0], [2, 2]), ([2, 2], [1, 3])],
)
def test_ranges_that_are_no_windows_are_refused(start: list[int], end: list[int]) -> None:
    with pytest.raises(ValueError, match=r"0 \.\. 3"):
        Windows.of(torch.tensor(start), torch.tensor(end), 3)


def test_a_negative_reach_is_refused() -> None:
    with pytest.raises(ValueError, match=r"-0\.1"):
        windows(clock(2, 1), clock(2, 1), -0.1)
