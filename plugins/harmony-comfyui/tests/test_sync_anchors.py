"""The nodes that make anchors and mark what is given, on the stand-in for ComfyUI."""

from __future__ import annotations

import os

import pytest
import torch
from torch import Tensor

if os.environ.get("HARMONY_COMFYUI"):
    pytest.skip("runs on the stand-in", allow_module_level=True)

import comfy_stand_in as comfy
from harmony_sync_nodes import nodes

VIDEO, AUDIO = torch.zeros(2, 3, 4, 2, 2), torch.zeros(2, 2, 25, 3)  # [B, C, T, H, W], [B, C, T, F]


class CausalVAE:
    """Latents are running means, so that the first ones don't depend on what follows."""

    audio_sample_rate = 100
    downscale_index_formula = (8, 32, 32)

    def encode(self, samples: Tensor) -> Tensor:
        if samples.ndim == 3:  # sound [B, N, channels], ten latents a second
            means = samples.cumsum(1)[:, ::10].mean(2)
            return (means[:, None, :, None] + 0.25).expand(-1, 2, -1, 3)
        self.pictures = samples
        frames = samples.mean((1, 2, 3)).cumsum(0)[::8]
        grid = samples.shape[1] // 32, samples.shape[2] // 32
        return frames.view(1, 1, -1, 1, 1).expand(1, 3, -1, *grid)


def test_silence_is_encoded():
    """As long as the latent, also one of both streams; and not zeros."""
    for samples in (torch.zeros(1, 2, 25, 3), comfy.Nested([VIDEO, AUDIO[:1]])):
        (mute,) = nodes.HarmonyMuteSound.execute(CausalVAE(), {"samples": samples}).results
        assert mute["samples"].shape == (1, 2, 25, 3)
        assert (mute["samples"] == 0.25).all()


def test_a_picture_is_repeated_and_encoded():
    vae = CausalVAE()
    image = torch.rand(2, 50, 70, 3)
    (static,) = nodes.HarmonyStaticVideo.execute(
        vae, image, {"samples": torch.zeros(1, 3, 4, 2, 3)}
    ).results
    assert static["samples"].shape == (1, 3, 4, 2, 3)
    assert vae.pictures.shape == (25, 64, 96, 3)
    assert (vae.pictures == vae.pictures[:1]).all()
    with pytest.raises(ValueError, match="VAE of the model's video"):
        nodes.HarmonyStaticVideo.execute(object(), image, {"samples": torch.zeros(1, 3, 4, 2, 3)})


def test_a_given_stream_has_a_mask_of_zeros():
    (given,) = nodes.HarmonyGiven.execute({"samples": AUDIO, "type": "audio"}).results
    assert (given["noise_mask"] == 0).all()
    assert given["type"] == "audio"
    with pytest.raises(ValueError, match="before they are joined"):
        nodes.HarmonyGiven.execute({"samples": comfy.Nested([VIDEO, AUDIO])})
