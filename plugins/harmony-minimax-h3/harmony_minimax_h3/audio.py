"""Sound latents of MiniMax-H3, through diffusers' AutoencoderKLMiniMaxH3Audio."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import attrs
import torch
from einops import rearrange
from torch import Tensor, nn

from harmony_diffusers.frozen import (
    Frozen,
    Precision,
    config_knob,
    diffusers_model,
    model_knob,
    precision_knob,
    revision_knob,
    saved_form,
    subfolder_knob,
)
from harmony_diffusers.sound_format import check_sound
from harmony_parts.av import Format
from harmony_parts.codecs.protocol import check_waveform

SIDES = 2
"""Sides of its sound: a latent here is one of the left and then one of the right side."""


@attrs.frozen
class MiniMaxH3Audio:
    """The autoencoder of MiniMax-H3 over mono waveforms at 32 kHz, for both sides: 40 latents a
    second.

    Sound [B, channels, samples] <-> latents [B, T, 64]: 32 channels of the left side, then 32 of
    the right one, each (z - mean) / std, z the mean of the distribution. A mono format is given to
    both sides, and gets their mean. The weights stay in float32 in any precision, as in diffusers.
    Input is moved to their device, and the result stays there. Source: diffusers'
    MiniMaxH3ModularPipeline. The weights' licence is on their card: read it before use.
    """

    model: str = model_knob("")
    subfolder: str = subfolder_knob("audio_vae", "autoencoder of sound")
    revision: str = revision_knob()
    config: dict[str, Any] = config_knob("diffusers.AutoencoderKLMiniMaxH3Audio")
    precision: Precision = precision_knob("float32")

    def build(self, *, format: Format) -> MiniMaxH3AudioCodec:
        """The codec.

        Raises ValueError if the weights can't be loaded, or the format has another rate or number
        of channels.
        """
        return MiniMaxH3AudioCodec(self, format)


class MiniMaxH3AudioCodec:
    """The AudioCodec of `MiniMaxH3Audio`."""

    def __init__(self, spec: MiniMaxH3Audio, format: Format) -> None:
        from diffusers import AutoencoderKLMiniMaxH3Audio

        self._vae = diffusers_model(
            AutoencoderKLMiniMaxH3Audio,
            saved_form(AutoencoderKLMiniMaxH3Audio, spec.model, spec.subfolder),
            spec.config,
            spec.precision,
            spec.model,
            spec.subfolder,
            spec.revision,
        )
        self.frozen = Frozen(self._vae)
        config = self._vae.config
        self._hop: int = self._vae.hop_length  # samples per latent
        self._rate: int = config.sampling_rate
        check_sound(format, self._rate, SIDES)
        self.sound_channels = format.channels
        width: int = config.latent_channels
        self.channels = SIDES * width
        self._mean = torch.tensor(config.latents_mean or [0.0] * width, device="cpu").repeat(SIDES)
        self._std = torch.tensor(config.latents_std or [1.0] * width, device="cpu").repeat(SIDES)

    @property
    def external_modules(self) -> tuple[nn.Module, ...]:
        """The modules that own the weights."""
        return self.frozen.models

    def latents(self, samples: int) -> int:
        """Number of latents of `samples` samples; the rest of the last one is mute."""
        if samples < 1:
            raise ValueError(f"a sound has at least one sample, not {samples}")
        return -(-samples // self._hop)

    def samples(self, latents: int) -> int:
        """Number of samples of `latents` latents."""
        return latents * self._hop

    def clock(self, latents: int) -> Tensor:
        """float64 [latents, 2] (start, end) in seconds: equally long."""
        step = Fraction(self._hop, self._rate)
        edges = torch.arange(latents + 1, dtype=torch.float64) * step.numerator / step.denominator
        return torch.stack([edges[:-1], edges[1:]], dim=1)

    @torch.no_grad()
    def encode(self, waveform: Tensor) -> Tensor:
        """Float [B, channels, samples] in [-1, 1] -> float32 [B, latents(samples), C].

        Raises ValueError for other shapes or types.
        """
        check_waveform(waveform, self.sound_channels)
        sound = waveform.to(self.frozen.device).float().expand(-1, SIDES, -1)
        z = self._vae.encode(rearrange(sound, "b s n -> (b s) 1 n")).latent_dist.mode().float()
        z = rearrange(z, "(b s) c t -> b t (s c)", s=SIDES)
        return (z - self._mean.to(z.device)) / self._std.to(z.device)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """[B, T, C] -> float32 [B, channels, samples(T)] in [-1, 1]."""
        if latents.ndim != 3 or latents.shape[2] != self.channels or not latents.shape[1]:
            raise ValueError(
                f"latents are [B, T, {self.channels}] with T >= 1, not {list(latents.shape)}"
            )
        z = latents.to(self.frozen.device).float()
        z = z * self._std.to(z.device) + self._mean.to(z.device)
        sound = self._vae.decode(rearrange(z, "b t (s c) -> (b s) c t", s=SIDES)).sample.float()
        sound = rearrange(sound, "(b s) 1 n -> b s n", s=SIDES)
        return sound.mean(1, keepdim=True) if self.sound_channels == 1 else sound
