"""ltx2-video against diffusers called directly; its counts, clock and errors."""

from __future__ import annotations

import attrs
import ltx2_toys as toys
import pytest
import torch
from diffusers import AutoencoderKLLTX2Video, LTX2Pipeline
from hypothesis import given
from hypothesis import strategies as st

from harmony_ltx2.video import LTX2Video
from harmony_parts.codecs.protocol import VideoCodec
from harmony_parts.testing.contracts.codecs import check_video_codec


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A saved autoencoder whose latents aren't of unit scale."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    model = AutoencoderKLLTX2Video(**toys.VIDEO, scaling_factor=0.5)
    model.latents_mean.copy_(torch.linspace(-1, 1, toys.C))
    model.latents_std.copy_(torch.linspace(0.5, 2, toys.C))
    model.save_pretrained(folder / "vae")
    return folder


@pytest.fixture(scope="module")
def codec(folder):
    return check_video_codec(LTX2Video(model=str(folder)), toys.FORMAT)


def frames_of(count, batch=1):
    """Random frames."""
    return torch.randint(
        256,
        (batch, count, 64, 96, 3),
        generator=torch.Generator().manual_seed(0),
        dtype=torch.uint8,
    )


def test_it_has_the_strides_of_ltx2(codec):
    assert isinstance(codec, VideoCodec)
    assert (codec.grid, codec.channels) == ((2, 3), toys.C)


@torch.no_grad()
def test_latents_and_frames_equal_diffusers(codec):
    """With the pipeline's scale; 12 frames are padded to 17 with the last one."""
    frames = frames_of(12, batch=2)
    latents = codec.encode(frames)
    whole = torch.cat([frames, frames[:, -1:].expand(-1, 5, -1, -1, -1)], dim=1)
    model = codec.frozen.models[0]
    numbers = (model.latents_mean, model.latents_std, model.config.scaling_factor)
    assert numbers[2] == 0.5
    z = model.encode((whole.float() / 127.5 - 1).permute(0, 4, 1, 2, 3)).latent_dist.mode()
    direct = LTX2Pipeline._normalize_latents(z, *numbers)
    assert latents.shape == (2, 3, 2, 3, toys.C)
    assert latents.dtype == torch.float32
    assert torch.allclose(latents, direct.permute(0, 2, 3, 4, 1), atol=1e-6)
    noise = torch.randn(direct.shape, generator=torch.Generator().manual_seed(1))
    pixels = model.decode(LTX2Pipeline._denormalize_latents(noise, *numbers)).sample.permute(
        0, 2, 3, 4, 1
    )
    made = codec.decode(noise.permute(0, 2, 3, 4, 1))
    assert made.shape == (2, 17, 64, 96, 3)
    assert ((pixels + 1) * 127.5 - made).abs().where((made > 0) & (made < 255), 0).max() < 0.501


def test_it_is_deterministic(codec):
    """For a single frame too."""
    frames = frames_of(1)
    assert torch.equal(codec.encode(frames), codec.encode(frames))
    assert codec.decode(codec.encode(frames)).shape == frames.shape


@given(latents=st.integers(1, 40), frames=st.integers(1, 200))
def test_the_clock_is_causal(codec, latents, frames):
    """The first latent lasts one frame, each other eight, without gaps; none is superfluous."""
    clock = codec.clock(latents)
    lengths = torch.tensor([1.0] + [8.0] * (latents - 1), dtype=torch.float64) / 24
    assert torch.allclose(clock[:, 1] - clock[:, 0], lengths, atol=1e-12, rtol=0)
    assert torch.equal(clock[1:, 0], clock[:-1, 1])
    assert codec.frames(latents) == 1 + 8 * (latents - 1)
    assert codec.frames(codec.latents(frames)) - 8 < frames <= codec.frames(codec.latents(frames))


@torch.no_grad()
def test_latents_are_causal(codec):
    """Changed frames from number 9 on don't change the first two latents."""
    frames = frames_of(17)
    changed = frames.clone()
    changed[:, 9:] = 255 - changed[:, 9:]
    a, b = codec.encode(frames), codec.encode(changed)
    assert torch.equal(a[:, :2], b[:, :2])
    assert not torch.equal(a[:, 2:], b[:, 2:])


@torch.no_grad()
def test_tiles_equal_diffusers():
    """For pictures larger than a tile."""
    format = attrs.evolve(toys.FORMAT, height=256, width=160)
    tiled, plain = (
        LTX2Video(config=toys.VIDEO, tile=tile).build(format=format) for tile in (128, 0)
    )
    latents = torch.randn(1, 2, 8, 5, toys.C, generator=torch.Generator().manual_seed(0))
    made = tiled.decode(latents)
    assert not torch.equal(made, plain.decode(latents))
    plain.frozen.models[0].enable_tiling(
        128, 128, tile_sample_stride_height=96, tile_sample_stride_width=96
    )
    assert torch.equal(made, plain.decode(latents))
    assert tiled.encode(made).shape == latents.shape


def test_unsupported_sizes_tiles_and_decoders_are_refused(folder):
    """Sizes or tiles of partial latents, and decoders that add noise."""
    with pytest.raises(ValueError, match="width 80 is not a multiple of 32"):
        LTX2Video(config=toys.VIDEO).build(format=attrs.evolve(toys.FORMAT, width=80))
    for size, tile in (({"width": 128, "height": 256}, 128), ({"width": 32}, 0)):
        with pytest.raises(
            ValueError, match=r"tiles of a single latent .*: choose another size or tile"
        ):
            LTX2Video(config=toys.VIDEO, tile=tile).build(format=attrs.evolve(toys.FORMAT, **size))
    with pytest.raises(ValueError, match="multiple of 128"):
        LTX2Video(tile=64)
    with pytest.raises(ValueError, match="decoder adds noise"):
        LTX2Video(config=toys.VIDEO | {"timestep_conditioning": True}).build(format=toys.FORMAT)
    with pytest.raises(
        ValueError, match=r"can't be loaded as AutoencoderKLLTX2Video: .*config.json"
    ):
        LTX2Video(model=str(folder), subfolder="nothing").build(format=toys.FORMAT)
