"""Sound latents of Cosmos3-Omni, through diffusers' Cosmos3AVAEAudioTokenizer."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from harmony_diffusers.frozen import (
    Frozen,
    Precision,
    config_knob,
    diffusers_model,
    model_knob,
    precision_knob,
    revision_knob,
    subfolder_knob,
)
from harmony_diffusers.sound_format import check_sound
from harmony_parts.av import Format
from harmony_parts.codecs.protocol import check_waveform


@attrs.frozen
class Cosmos3Audio:
    """The autoencoder of Cosmos3-Omni over waveforms: 64 channels, 25 latents per second at 48 kHz.

    Sound [B, channels, samples] <-> latents [B, T, 64]: the mean of the distribution, which isn't
    normalised. It is for stereo; a mono format is given to both sides, and gets their mean. Before
    encoding each sound is brought to a peak of 0.95, as in training, so it comes back at another
    loudness. Input is moved to the weights' device, and the result stays there. Weights without an
    encoder can't be given sound, nor the silence of SyncCFG. Source: diffusers'
    Cosmos3OmniPipeline. The weights' licence is on their card: read it before use.
    """

    model: str = model_knob("")
    subfolder: str = subfolder_knob("sound_tokenizer", "autoencoder of sound")
    revision: str = revision_knob()
    config: dict[str, Any] = config_knob("diffusers.Cosmos3AVAEAudioTokenizer")
    precision: Precision = precision_knob("float32")

    def build(self, *, format: Format) -> Cosmos3AudioCodec:
        """The codec.

        Raises ValueError if the weights can't be loaded, or the format has another rate or number
        of channels.
        """
        return Cosmos3AudioCodec(self, format)


class Cosmos3AudioCodec:
    """The AudioCodec of `Cosmos3Audio`."""

    def __init__(self, spec: Cosmos3Audio, format: Format) -> None:
        from diffusers import Cosmos3AVAEAudioTokenizer

        self._vae = diffusers_model(
            Cosmos3AVAEAudioTokenizer,
            {},
            spec.config,
            spec.precision,
            spec.model,
            spec.subfolder,
            spec.revision,
        )
        self.frozen = Frozen(self._vae)
        config = self._vae.config
        self._hop: int = self._vae._hop_size  # samples per latent
        self._rate, self._sides = config.sampling_rate, config.dec_out_channels
        check_sound(format, self._rate, self._sides)
        self.sound_channels = format.channels
        self.channels: int = config.vocoder_input_dim

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

        Raises ValueError for other shapes or types, or if the weights have no encoder.
        """
        check_waveform(waveform, self.sound_channels)
        sound = waveform.to(self.frozen.device).float().expand(-1, self._sides, -1)
        # each by itself, since the peak is that of the whole batch
        rows = [self._vae.encode(row[None]).latent_dist.mode() for row in sound]
        return torch.cat(rows).transpose(1, 2).float()

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """[B, T, C] -> float32 [B, channels, samples(T)] in [-1, 1]."""
        if latents.ndim != 3 or latents.shape[2] != self.channels or not latents.shape[1]:
            raise ValueError(
                f"latents are [B, T, {self.channels}] with T >= 1, not {list(latents.shape)}"
            )
        z = latents.to(self.frozen.device, self.frozen.dtype).transpose(1, 2)
        sound = self._vae.decode(z).float()
        return sound.mean(1, keepdim=True) if self.sound_channels == 1 else sound
