"""wan-vae against diffusers called directly; its counts, clock and errors."""

from __future__ import annotations

import attrs
import diffusers_toys as toys
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harmony_diffusers.wan_vae import WanVAE
from harmony_parts.av import Format
from harmony_parts.codecs.protocol import VideoCodec
from harmony_parts.models.offload import move_weights
from harmony_parts.testing.contracts.codecs import check_video_codec


def frames_of(count: int, format: Format = toys.VIDEO, batch: int = 1) -> torch.Tensor:
    """Random frames."""
    shape = (batch, count, format.height, format.width, 3)
    return torch.randint(256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.fixture(scope="module", params=[toys.WAN21, toys.WAN22], ids=["wan2.1", "wan2.2"])
def codec(request):
    return check_video_codec(WanVAE(config=request.param), toys.VIDEO)


def test_it_has_the_strides_and_channels_of_its_form(codec):
    assert isinstance(codec, VideoCodec)
    stride = codec._vae.config.scale_factor_spatial
    assert codec.grid == (32 // stride, 48 // stride)
    assert codec.channels == codec._vae.config.z_dim
    assert (stride, codec.channels) in ((8, 16), (16, 48))


@torch.no_grad()
def test_latents_and_frames_equal_diffusers(codec):
    """Encoding: (mean of the distribution - mean) / std; decoding: the reverse, of 9 frames."""
    frames = frames_of(6, batch=2)
    latents = codec.encode(frames)
    whole = torch.cat([frames, frames[:, -1:].expand(-1, 3, -1, -1, -1)], dim=1)
    mean, std = (
        torch.tensor(numbers)[:, None, None, None]
        for numbers in (codec._vae.config.latents_mean, codec._vae.config.latents_std)
    )
    direct = (
        codec._vae.encode((whole.float() / 127.5 - 1).permute(0, 4, 1, 2, 3)).latent_dist.mean
        - mean
    ) / std
    assert latents.dtype == torch.float32
    assert torch.equal(latents, direct.permute(0, 2, 3, 4, 1))
    # random latents, so that all channels matter
    z = torch.randn(direct.shape, generator=torch.Generator().manual_seed(1))
    pixels = codec._vae.decode(z * std + mean).sample
    made = codec.decode(z.permute(0, 2, 3, 4, 1))
    assert made.dtype == torch.uint8
    assert torch.equal(made, ((pixels + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 4, 1))


def test_it_is_deterministic_and_independent_of_the_batch(codec):
    """Up to the rounding of sums in another order."""
    frames = frames_of(5, batch=2)
    latents = codec.encode(frames)
    assert torch.equal(latents, codec.encode(frames))
    assert torch.allclose(latents[1:], codec.encode(frames[1:]), atol=1e-6)
    assert torch.equal(codec.decode(latents), codec.decode(latents))


@toys.few
@given(frames=st.integers(1, 21))
def test_it_uses_the_fewest_latents(codec, frames):
    latents = codec.latents(frames)
    assert codec.frames(latents) >= frames
    assert latents == 1 or codec.frames(latents - 1) < frames
    assert codec.latents(codec.frames(latents)) == latents


@toys.few
@given(latents=st.integers(1, 70))
def test_the_clock_is_causal(codec, latents):
    """The first latent lasts one frame, each other four, without gaps, as long as the frames."""
    clock = codec.clock(latents)
    assert clock.shape == (latents, 2)
    assert clock.dtype == torch.float64
    frame = 1001 / 24000
    lengths = clock[:, 1] - clock[:, 0]
    assert torch.allclose(
        lengths,
        torch.tensor([1.0] + [4.0] * (latents - 1), dtype=torch.float64) * frame,
        atol=1e-12,
        rtol=0,
    )
    assert torch.equal(clock[1:, 0], clock[:-1, 1])
    assert float(clock[-1, 1]) == pytest.approx(codec.frames(latents) * frame, abs=1e-12)


@torch.no_grad()
def test_latents_are_causal(codec):
    """Changed frames from number 5 on don't change the first two latents."""
    frames = frames_of(9)
    changed = frames.clone()
    changed[:, 5:] = 255 - changed[:, 5:]
    a, b = codec.encode(frames), codec.encode(changed)
    assert torch.equal(a[:, :2], b[:, :2])
    assert not torch.equal(a[:, 2:], b[:, 2:])


def built(format: Format = toys.VIDEO, **settings):
    """A tiny Wan2.2 codec."""
    return toys.wan22(**settings).build(format=format)


@torch.no_grad()
def test_tiles_equal_diffusers():
    """A picture larger than a tile equals diffusers with the same tiles, a smaller one no tiles."""
    format = Format(fps=24, height=128, width=64, sample_rate=16000, seconds=1.0)
    tiled, plain = built(format, tile=64), built(format)
    latents = torch.randn(1, 2, *plain.grid, 48, generator=torch.Generator().manual_seed(0))
    made, whole = tiled.decode(latents), plain.decode(latents)
    assert made.shape == whole.shape
    assert not torch.equal(made, whole)
    plain._vae.enable_tiling(64, 64, 48, 48)
    assert torch.equal(made, plain.decode(latents))
    small = attrs.evolve(format, height=64)
    assert torch.equal(
        built(small, tile=64).decode(latents[:, :, :4]), built(small).decode(latents[:, :, :4])
    )


def test_bfloat16_is_close_to_float32():
    """It computes in bfloat16 and returns float32, within a few steps of 2^-8."""
    fine, coarse = built(), built(precision="bfloat16")
    assert coarse.frozen.dtype == torch.bfloat16
    frames = frames_of(5)
    a, b = fine.encode(frames), coarse.encode(frames)
    assert b.dtype == torch.float32
    assert 0 < (a - b).abs().max() < 0.1 * a.abs().max()
    assert coarse.decode(b).dtype == torch.uint8


def test_it_is_counted_at_full_size_without_weights():
    """Wan2.2's autoencoder for 704 x 1280, counted on the meta device."""
    with torch.device("meta"):
        codec = WanVAE().build(
            format=Format(fps=24, height=704, width=1280, sample_rate=16000, seconds=5.0)
        )
    assert sum(weight.numel() for weight in codec.frozen.parameters()) == 704_688_668
    assert (codec.grid, codec.channels) == ((44, 80), 48)
    assert (codec.latents(121), codec.frames(31)) == (31, 121)
    with pytest.raises(ValueError, match=r'inside `torch\.device\("meta"\)`'):
        move_weights(codec, "cpu")


def test_sizes_and_shapes_that_do_not_fit_are_refused():
    """Sizes or tiles of partial latents, and frames or latents of another shape or type."""
    with pytest.raises(ValueError, match="height 40 is not a multiple of 16"):
        toys.wan22().build(format=attrs.evolve(toys.VIDEO, height=40))
    with pytest.raises(ValueError, match="multiple of 64"):
        toys.wan22(tile=100)
    with pytest.raises(ValueError, match="2 frames per latent"):
        toys.wan22(config=toys.WAN22 | {"scale_factor_temporal": 2}).build(format=toys.VIDEO)
    codec = built()
    for frames in (frames_of(5).float(), frames_of(5)[:, :, :16], frames_of(5)[0]):
        with pytest.raises(ValueError, match="frames are uint8"):
            codec.encode(frames)
    with pytest.raises(ValueError, match="latents are"):
        codec.decode(torch.zeros(1, 2, 2, 3, 47))
    with pytest.raises(ValueError, match="at least one"):
        codec.latents(0)
