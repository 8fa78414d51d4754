"""Tiny models with a few thousand random weights, and the strides and clocks of the real ones."""

from __future__ import annotations

from typing import Any

import hypothesis
import torch

from harmony_diffusers.ltx2_audio import LTX2Audio
from harmony_diffusers.mmaudio_vae import MMAudio
from harmony_diffusers.umt5 import UMT5
from harmony_diffusers.wan_vae import WanVAE
from harmony_parts.av import Format

few = hypothesis.settings(deadline=None, derandomize=True, max_examples=15)
"""Few and fixed examples, for simple properties."""

WAN: dict[str, Any] = {
    "base_dim": 3,
    "dim_mult": [1, 1, 1, 1],
    "num_res_blocks": 1,
    "temperal_downsample": [False, True, True],
}
WAN21 = WAN | {"z_dim": 16}
WAN22 = WAN | {
    "decoder_base_dim": 4,
    "z_dim": 48,
    "is_residual": True,
    "in_channels": 12,
    "out_channels": 12,
    "patch_size": 2,
    "scale_factor_spatial": 16,
    "latents_mean": [0.01 * c for c in range(48)],
    "latents_std": [1 + 0.1 * c for c in range(48)],
}
MEL: dict[str, Any] = {
    "mel_bins": 16,
    "latent_channels": 4,
    "hidden_channels": 8,
    "sample_rate": 4000,
    "n_fft": 256,
    "hop_length": 64,
}
VOCODER: dict[str, Any] = {
    "num_mels": 16,
    "upsample_initial_channel": 8,
    "upsample_rates": [8, 8],
    "upsample_kernel_sizes": [16, 16],
    "resblock_kernel_sizes": [3],
    "resblock_dilation_sizes": [[1, 3, 5]],
}
LTX_MEL: dict[str, Any] = {
    "base_channels": 8,
    "num_res_blocks": 1,
    "latent_channels": 2,
    "resolution": 32,
    "mel_bins": 16,
}
LTX_VOCODER: dict[str, Any] = {"in_channels": 32, "hidden_channels": 32}
LTX_EXTENDED: dict[str, Any] = {
    "in_channels": 32,
    "hidden_channels": 64,
    "bwe_in_channels": 32,
    "bwe_hidden_channels": 32,
    "num_mel_channels": 16,
}
"""The vocoder with bandwidth extension, of LTX-2.3."""
TEXT: dict[str, Any] = {
    "vocab_size": 384,
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 48,
    "num_layers": 2,
    "num_heads": 4,
}
TEXT |= {"feed_forward_proj": "gated-gelu"}

VIDEO = Format(fps="24000/1001", height=32, width=48, sample_rate=16000, seconds=1.0)
SOUND = Format(fps=24, height=32, width=48, sample_rate=4000, seconds=1.0)
AT_24K = Format(fps=24, height=32, width=48, sample_rate=24000, seconds=1.0)


def wan22(**settings: Any) -> WanVAE:
    """A tiny Wan2.2 autoencoder."""
    return WanVAE(**{"config": WAN22} | settings)


def mmaudio(form: str = "16k", **settings: Any) -> MMAudio:
    """A tiny MMAudio autoencoder, at 4 kHz."""
    return MMAudio(**{"form": form, "config": MEL, "vocoder_config": VOCODER} | settings)


def ltx2(**settings: Any) -> LTX2Audio:
    """A tiny LTX-2 audio autoencoder, with the real rates."""
    return LTX2Audio(**{"config": LTX_MEL, "vocoder_config": LTX_VOCODER} | settings)


def umt5(**settings: Any) -> UMT5:
    """A tiny UMT5, over bytes."""
    return UMT5(**{"config": TEXT, "precision": "float32", "length": 48} | settings)


def noise(samples: int, batch: int = 1, channels: int = 1) -> torch.Tensor:
    """Uniform noise in [-1, 1], [batch, channels, samples]."""
    shape = (batch, channels, samples)
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


def build_sound(spec: MMAudio | LTX2Audio, format: Format) -> Any:
    """A sound codec with means and deviations that aren't 0 and 1, as in a fresh model."""
    codec = spec.build(format=format)
    for name, scale in (
        ("data_mean", -1.0),
        ("data_std", 2.0),
        ("latents_mean", 0.1),
        ("latents_std", 1.5),
    ):
        if hasattr(codec._vae, name):
            buffer = getattr(codec._vae, name)
            buffer.copy_(
                scale + torch.rand(buffer.shape, generator=torch.Generator().manual_seed(1)) / 10
            )
    return codec
