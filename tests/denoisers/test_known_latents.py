"""Known latents of either stream: which are pasted, at which time, and their velocity."""

from __future__ import annotations

import pytest
import torch
from helpers.small_denoiser import B, at, build, inputs
from hypothesis import given
from hypothesis import strategies as st

from harmony_parts.av import AV, STREAMS, Condition, Times
from harmony_parts.denoisers.known_latents import KnownBeginning, lead, paste
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


@pytest.mark.parametrize("interaction", ["two_way", "one_way"])
@pytest.mark.parametrize("streams", [("video", "audio"), ("video",), ("audio",)])
@torch.no_grad()
def test_a_known_beginning_leads_to_itself_with_and_without_a_cache(interaction, streams):
    """x - t v is the known latent where the stream is noisy, whatever it replaces."""
    denoiser = build(driven_interaction=interaction)
    av, conditions = inputs()
    begin = AV(*(torch.randn_like(av[s][:, :k]) for s, k in (("video", 3), ("audio", 5))))
    cache: dict = {}
    for t in (0.9, 0.4):
        for clean in (None, *STREAMS):
            known = KnownBeginning(denoiser, begin.only([s for s in streams if s != clean]))
            times = at(*(0.0 if s == clean else t for s in STREAMS))
            read = tuple(s for s in STREAMS if s != clean)
            both = [known(av, times, conditions, read=read, cache=c) for c in (None, cache)]
            changed = av.map(lambda x, k: torch.cat((x[:, :k] + 1, x[:, k:]), 1), AV(3, 5))
            other = known(
                av.replace(**{s: changed[s] for s in streams if s != clean}),
                times,
                conditions,
                read=read,
            )
            for s in read:
                torch.testing.assert_close(both[0][s], both[1][s], rtol=0, atol=1e-12)
                k = begin[s].shape[1] if s in streams else 0
                torch.testing.assert_close(
                    av[s][:, :k] - t * both[0][s][:, :k], begin[s][:, :k], rtol=0, atol=1e-12
                )
                assert torch.equal(both[0][s][:, k:], other[s][:, k:])


@torch.no_grad()
def test_samples_at_time_0_keep_their_values():
    """In a batch of passes, of which an anchor replaces a stream in one."""
    denoiser, (av, conditions) = build(), inputs()
    begin = av.map(lambda x: torch.randn_like(x[:, :2]))
    known = KnownBeginning(denoiser, begin)
    times = at(0.7, 0.5)
    clean = times.replace(audio=at(0.7, 0.0)["audio"])
    alone = KnownBeginning(denoiser, begin.only(("video",)))(av, clean, conditions, read=("video",))
    twice = {name: c.rows(torch.tensor([*range(B)] * 2)) for name, c in conditions.items()}
    both = known(
        av.map(lambda x: torch.cat((x, x))),
        times.map(lambda a, b: Times.cat((a, b)), clean),
        twice,
        read=("video",),
    )
    torch.testing.assert_close(both["video"][B:], alone["video"], rtol=0, atol=1e-12)


@torch.no_grad()
def test_a_known_beginning_is_repeated_over_a_batch_of_passes():
    """Rows b of several passes are the same samples."""
    denoiser = build()
    av, conditions = inputs()
    begin = AV(*(torch.randn(B, 2, *av[s].shape[2:], dtype=torch.float64) for s in STREAMS))
    known = KnownBeginning(denoiser, begin)
    twice = {name: c.rows(torch.tensor([*range(B)] * 2)) for name, c in conditions.items()}
    times = at(0.7, 0.5)
    one = known(av, times, conditions)
    two = known(av.map(lambda x: torch.cat((x, x))), times.map(lambda t: Times.cat((t, t))), twice)
    for s in STREAMS:
        torch.testing.assert_close(torch.cat((one[s], one[s])), two[s], rtol=0, atol=1e-12)
