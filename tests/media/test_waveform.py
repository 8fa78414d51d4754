"""Cross-fades: length, ends, and level."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harmony_parts.media.waveform import cross_fade


@given(
    old=st.integers(1, 60),
    new=st.integers(1, 60),
    overlap=st.integers(0, 60),
    length=st.integers(0, 70),
    seed=st.integers(0, 99),
)
def test_it_is_the_old_sound_then_the_new_one(old, new, overlap, length, seed):
    """All but the fade, bit for bit; equal sounds stay as they are, to rounding."""
    overlap = min(overlap, old, new)
    start, n = old - overlap, min(length, overlap)
    x, y = torch.randn(2, 2, 200, generator=torch.Generator().manual_seed(seed)).double()
    made = cross_fade(x[:, :old], y[:, :new], start, length)
    assert made.shape == (2, start + new)
    assert torch.equal(made[:, : old - n], x[:, : old - n])
    assert torch.equal(made[:, old:], y[:, overlap:new])
    whole = x[:, : start + new]
    same = cross_fade(whole[:, :old], whole[:, start:], start, length)
    torch.testing.assert_close(same, whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize("r", [0.0, 0.5, 1.0])
def test_the_level_stays_the_same_for_any_correlation(r):
    """In every tenth of the fade, within five standard errors of 20,000 samples."""
    x, z = torch.randn(2, 200_000, generator=torch.Generator().manual_seed(0)).double()
    y = r * x + (1 - r * r) ** 0.5 * z
    made = cross_fade(x[None], y[None], 0, 200_000)[0]
    levels = made.view(10, -1).square().mean(1)
    assert (levels - 1).abs().max() < 5 * (2 / 20_000) ** 0.5


def test_silence_fades_to_silence():
    assert not cross_fade(torch.zeros(1, 9), torch.zeros(1, 9), 4, 5).any()
