"""hunyuan-vae against diffusers called directly; its counts and errors."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import torch
from diffusers_toys import VIDEO

from harmony_diffusers.hunyuan_vae import HunyuanVAE
from harmony_parts.testing.contracts.codecs import check_video_codec

TINY: dict[str, Any] = {
    "latent_channels": 4,
    "block_out_channels": (4, 8, 8, 8),
    "layers_per_block": 1,
    "norm_num_groups": 2,
}


@pytest.fixture(scope="module")
def codec() -> Any:
    return check_video_codec(HunyuanVAE(config=TINY), VIDEO)


@torch.no_grad()
@pytest.mark.parametrize("count", [6, 19])
def test_latents_and_frames_equal_diffusers(codec, count):
    """The mean times the scaling factor, and back; more than 16 frames are processed in pieces."""
    shape = (1, count, VIDEO.height, VIDEO.width, 3)
    frames = torch.randint(256, shape, generator=torch.Generator().manual_seed(0)).byte()
    latents = codec.encode(frames)
    assert codec.frames(latents.shape[1]) - 4 < count <= codec.frames(latents.shape[1])
    rest = codec.frames(latents.shape[1]) - count
    whole = torch.cat([frames, frames[:, -1:].expand(-1, rest, -1, -1, -1)], dim=1)
    vae = codec.frozen.models[0]
    mean = vae.encode((whole.float() / 127.5 - 1).permute(0, 4, 1, 2, 3)).latent_dist.mode()
    assert torch.allclose(
        latents, (mean * vae.config.scaling_factor).permute(0, 2, 3, 4, 1), rtol=1e-6, atol=1e-7
    )
    z = torch.randn(mean.shape, generator=torch.Generator().manual_seed(1))
    pixels = vae.decode(z / vae.config.scaling_factor).sample.permute(0, 2, 3, 4, 1)
    made = codec.decode(z.permute(0, 2, 3, 4, 1))
    assert ((pixels + 1) * 127.5 - made).abs().where((made > 0) & (made < 255), 0).max() < 0.501


def test_sizes_of_partial_latents_are_refused():
    with pytest.raises(ValueError, match="width 50 is not a multiple of 8"):
        HunyuanVAE(config=TINY).build(format=attrs.evolve(VIDEO, width=50))
    with pytest.raises(ValueError, match="multiple of 32"):
        HunyuanVAE(tile=40)
