"""Known latents of either stream: which are pasted, at which time, and their velocity."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harmony_parts.av import Condition, Times
from harmony_parts.denoisers.known_latents import lead, paste
from harmony_parts.errors import PartContractError

SHAPES = st.sampled_from([(2, 3, 4), (5,)])  # H, W, C of a video's latents; C of a sound's


@given(
    shape=SHAPES,
    n=st.integers(0, 3),
    later=st.integers(0, 2),
    time=st.floats(0, 1),
    seed=st.integers(0, 99),
    half=st.booleans(),
)
def test_known_latents_lead_to_themselves(shape, n, later, time, seed, half):
    """x - t v is the known latent where the mask is True; all else is unchanged, bit for bit."""
    dtype = torch.bfloat16 if half else torch.float64
    generator = torch.Generator().manual_seed(seed)
    noisy, velocity = (
        torch.randn(2, n + later, *shape, generator=generator).to(dtype) for _ in range(2)
    )
    known = Condition(
        torch.randn(2, n, *shape, generator=generator).to(dtype),
        torch.rand(2, n, generator=generator) < 0.5,
    )
    times = Times.uniform(torch.tensor([time, 0.5], dtype=torch.float64), n + later)
    where = torch.cat((known.mask, torch.zeros(2, later, dtype=torch.bool)), dim=1)
    pasted, at = paste(noisy, times, known)
    led = lead(velocity, noisy, times, known)
    assert (pasted.dtype, led.dtype) == (dtype, dtype)
    assert torch.equal(pasted[where], known.tokens[known.mask])
    assert torch.equal(pasted[~where], noisy[~where])
    assert torch.equal(at.per_latent(), times.per_latent().masked_fill(where, 0))
    assert torch.equal(led[~where], velocity[~where])
    clean = times.per_latent() == 0
    assert (led[where & clean] == 0).all()
    moved = where & ~clean
    if time > 1e-3 and not half:
        t = times.per_latent()[moved].reshape(-1, *(1,) * len(shape))
        torch.testing.assert_close(
            noisy[moved] - t * led[moved], known.tokens[moved[:, :n]], rtol=0, atol=1e-12
        )


@pytest.mark.parametrize(
    "shape",
    [(2, 4, 2, 3, 4), (2, 1, 2, 2, 4), (1, 1, 2, 3, 4)],
    ids=["longer", "narrower", "of another batch"],
)
def test_known_latents_of_another_shape_are_refused(shape):
    """Known latents replace the first ones of the same stream."""
    latents, known = (
        torch.zeros(2, 3, 2, 3, 4),
        Condition(torch.zeros(shape), torch.ones(shape[:2], dtype=torch.bool)),
    )
    times = Times.uniform(torch.ones(2), 3)
    with pytest.raises(
        PartContractError, match=r"the known latents are \[.*\], and the stream's \[2, 3, 2, 3, 4\]"
    ):
        paste(latents, times, known)
    with pytest.raises(PartContractError, match="at most as many latents in time"):
        lead(latents, latents, times, known)
