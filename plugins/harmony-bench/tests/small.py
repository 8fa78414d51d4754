"""Small stand-ins for what has one size, clips, and the functions that import paths name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import torch

from harmony_parts.media.clip import Clip


@contextmanager
def small_wavlm() -> Iterator[None]:
    """AudioBox's networks have two layers of 16 numbers meanwhile."""
    from audiobox_aesthetics.model import aes

    settings = dict(aes.DEFAULT_AUDIO_CFG.__dict__)
    settings |= {
        "encoder_layers": 2, "encoder_embed_dim": 16, "encoder_ffn_embed_dim": 16,
        "encoder_attention_heads": 2, "conv_pos": 8, "conv_pos_groups": 2,
        "conv_feature_layers": "[(16,10,5)] + [(16,3,2)] * 4 + [(16,2,2)] * 2",
    }  # fmt: skip
    with patch.object(aes, "DEFAULT_AUDIO_CFG", aes.WavLMConfig(settings)):
        yield


def clip(seconds: float = 2.4, side: int = 128, fps: int = 10, rate: int = 16000) -> Clip:
    """Coarse noise that moves to the right, and noise that is heard."""
    rng = torch.Generator().manual_seed(0)
    coarse = torch.randint(0, 256, (1, 3, side // 8, 2 * side // 8), generator=rng).float()
    wide = torch.nn.functional.interpolate(coarse, scale_factor=8, mode="bilinear")[0]
    frames = [
        wide[:, :, 4 * k % side : 4 * k % side + side].permute(1, 2, 0).byte()
        for k in range(round(seconds * fps))
    ]
    sound = 0.1 * torch.randn(1, round(seconds * rate), generator=rng)
    return Clip(torch.stack(frames), fps, sound, rate)


def brightness(given: Clip, reference: object) -> dict[str, float]:
    """A function as `callable` takes it."""
    found = {"frames": float("nan"), "loud": float("nan")}
    if given.frames is not None:
        found |= {"frames": float(len(given.frames))}
    if given.waveform is not None:
        found |= {"loud": given.waveform.square().mean()}
    return found


def product(given: Clip, reference: object) -> dict[str, float]:
    """Of both streams, and how many words it should have."""
    light, loud = given.frames.float().mean(), given.waveform.square().mean()
    found = {"product": float(light * loud)}
    if reference.transcript:
        found["words"] = float(len(reference.transcript.split()))
    return found


NUMBER = 3
