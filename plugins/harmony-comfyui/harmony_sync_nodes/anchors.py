"""The latents of silence and of a static video, by ComfyUI's VAEs.

Both are made from sound and picture, and never by repeating a latent: the first latent of a causal
autoencoder has no meaning at another position.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor


def stream_of(latent: dict[str, Any], stream: int) -> Tensor:
    """The latents of one stream, 0 video and 1 sound, of a LATENT of one or of both streams."""
    samples = latent["samples"]
    found: Tensor = samples.unbind()[stream] if getattr(samples, "is_nested", False) else samples
    return found


def mute_audio(vae: Any, latents: int) -> Tensor:
    """Latents [1, C, `latents`, F] of silence.

    How many latents a second of sound has is asked of the VAE, by encoding one. A causal VAE gives
    the same first latents for longer silence, so the rest is cut away.
    """

    def silence(seconds: int) -> Tensor:
        waveform = torch.zeros(1, seconds * rate, 2)
        encoded: Tensor = vae.encode(waveform)
        return encoded

    rate = getattr(vae, "audio_sample_rate", 44100)
    per_second = silence(1).shape[2]
    encoded = silence(math.ceil(latents / per_second) + 1)
    return encoded[:, :, :latents]


def static_video(vae: Any, image: Tensor, shape: tuple[int, ...], resize: Any) -> Tensor:
    """Latents [1, C, T, H, W] of the first picture of `image` [B, H, W, 3], repeated in time.

    `shape` is that of the latents to match; `resize` is `comfy.utils.common_upscale`. Raises
    ValueError if the VAE isn't one of video.
    """
    factors = getattr(vae, "downscale_index_formula", None)
    if factors is None:
        raise ValueError("this VAE isn't one of video: connect the VAE of the model's video")
    time, height, width = factors
    frames = (shape[2] - 1) * time + 1
    picture = image[:1, :, :, :3].movedim(-1, 1)
    size = shape[4] * width, shape[3] * height
    picture = resize(picture, *size, "bilinear", "center").movedim(1, -1)
    encoded: Tensor = vae.encode(picture.expand(frames, -1, -1, -1))
    return encoded
