"""Sound latents of LTX-2, through diffusers' AutoencoderKLLTX2Audio and its two vocoders."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import attrs
import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import pad

from harmony_diffusers.clock import intervals, latents_of, steps_of
from harmony_diffusers.frozen import (
    Frozen,
    Precision,
    config_knob,
    diffusers_model,
    model_knob,
    precision_knob,
    revision_knob,
    saved_class,
    saved_form,
    subfolder_knob,
)
from harmony_diffusers.mel import MelSpectrum
from harmony_parts.av import Format
from harmony_parts.codecs.protocol import check_waveform
from harmony_parts.plugin import knob

HOPS = 4  # mel frames per latent; the first one has one


@attrs.frozen
class LTX2Audio:
    """The causal autoencoder of LTX-2 over stereo log-mel spectra, with its vocoder.

    It has 25 latents per second of 8 channels x 16 bands; the first latent has 10 ms, each other 40
    ms. Sound [B, channels, samples] of any rate <-> latents [B, T, 128], whose number doesn't
    depend on the format's channels: a stereo format has both sides; a mono format gives the same
    sound to both, and takes their mean. Encoding: resample to 16 kHz, a mel spectrum (hop 10 ms) of
    each side, the mean z of the distribution, (z - mean) / std. Decoding: the vocoder gives stereo
    at 24 kHz (LTX-2.0), or at 48 kHz with bandwidth extension (2.3), as the folder has it; it is
    resampled unless the format has that rate. Input is moved to the
    weights' device, and the result stays there. The default configurations have 53 M and 56 M
    parameters. Source: arXiv:2601.03233. The weights are under the LTX-2 Community License: read it
    before use.
    """

    model: str = model_knob("Lightricks/LTX-2")
    subfolder: str = subfolder_knob("audio_vae", "autoencoder")
    vocoder_subfolder: str = subfolder_knob("vocoder", "vocoder")
    revision: str = revision_knob()
    config: dict[str, Any] = config_knob("diffusers.AutoencoderKLLTX2Audio")
    vocoder_config: dict[str, Any] = config_knob(
        "diffusers.pipelines.ltx2.LTX2Vocoder (or LTX2VocoderWithBWE)"
    )
    precision: Precision = precision_knob("float32")
    window: int = knob(
        1024,
        help=(
            "window of a mel frame at the autoencoder's rate, which the weights' configuration"
            " doesn't include"
        ),
        unit="samples",
        source=(
            "SimpleTuner and FastVideo, which encode sound for LTX-2: Hann, magnitudes, Slaney's"
            " filters, ln of at least 1e-5"
        ),
        validator=attrs.validators.ge(16),
    )

    def __attrs_post_init__(self) -> None:
        if bool(self.config) != bool(self.vocoder_config):
            raise ValueError(
                "config and vocoder_config go together: give both, for random weights, or neither"
            )

    def build(self, *, format: Format) -> LTX2AudioCodec:
        """The codec for mono or stereo sound at the format's rate.

        Raises ValueError if the weights can't be loaded or don't match each other, or if the format
        has more channels than they.
        """
        return LTX2AudioCodec(self, format)


class LTX2AudioCodec:
    """The AudioCodec of `LTX2Audio`."""

    def __init__(self, spec: LTX2Audio, format: Format) -> None:
        from diffusers import AutoencoderKLLTX2Audio
        from diffusers.pipelines.ltx2 import LTX2Vocoder, LTX2VocoderWithBWE

        self.spec, self.format = spec, format
        place = (spec.precision, spec.model)
        self._vae = diffusers_model(
            AutoencoderKLLTX2Audio, {}, spec.config, *place, spec.subfolder, spec.revision
        )
        where = (spec.model, spec.vocoder_subfolder, spec.revision)
        vocoder = saved_class((LTX2Vocoder, LTX2VocoderWithBWE), spec.vocoder_config, *where)
        form = saved_form(vocoder, spec.model, spec.vocoder_subfolder)
        self._vocoder = diffusers_model(vocoder, form, spec.vocoder_config, spec.precision, *where)
        self.frozen = Frozen(self._vae, self._vocoder)
        config, out = self._vae.config, self._vocoder.config
        self._rate, self._hop, self._out_rate = (
            config.sample_rate,
            config.mel_hop_length,
            out.output_sampling_rate,
        )
        # samples per mel frame; bandwidth extension multiplies them by the ratio of the rates
        samples = Fraction(math.prod(out.upsample_factors) * self._out_rate)
        samples /= getattr(out, "input_sampling_rate", self._out_rate)
        if samples * self._rate != self._hop * self._out_rate:
            raise ValueError(
                f"the vocoder has {samples} samples at {self._out_rate} Hz"
                f" per mel frame, but the autoencoder has a frame every {self._hop} samples at"
                f" {self._rate} Hz"
            )
        self.sound_channels, self._sides = format.channels, config.in_channels
        if format.channels != 1 and not format.channels == self._sides == out.out_channels:
            raise ValueError(
                f"the format has {format.channels} channels of sound, the autoencoder"
                f" {self._sides} and the vocoder {out.out_channels}: set format.channels to"
                f" {self._sides}, or to 1 for their mean"
            )
        self._bands = config.mel_bins // self._vae.mel_compression_ratio
        self.channels: int = config.latent_channels * self._bands
        if self._vae.latents_mean.numel() != self.channels:
            raise ValueError(
                f"the autoencoder has {self.channels} channels per latent, but means of"
                f" {self._vae.latents_mean.numel()} (base_channels)"
            )
        self._mel = MelSpectrum(
            self._rate, spec.window, self._hop, config.mel_bins, margin=spec.window // 2, power=0.0
        )
        # samples of the format per mel frame
        self._step = Fraction(self._hop * format.sample_rate, self._rate)

    @property
    def external_modules(self) -> tuple[nn.Module, ...]:
        """The modules that own the weights."""
        return self.frozen.models

    def latents(self, samples: int) -> int:
        """Number of latents of `samples` samples; the last one may be partly filled."""
        return latents_of(math.ceil(samples / self._step), HOPS)

    def samples(self, latents: int) -> int:
        """Number of whole samples of `latents` latents."""
        return math.floor(steps_of(latents, HOPS) * self._step)

    def clock(self, latents: int) -> Tensor:
        """float64 [latents, 2] (start, end) in seconds: one mel frame, then four per latent."""
        return intervals(latents, HOPS, Fraction(self._hop, self._rate))

    @torch.no_grad()
    def encode(self, waveform: Tensor) -> Tensor:
        """Float [B, channels, samples] in [-1, 1] -> float32 [B, latents(samples), C].

        The rest of the last latent is mute. Raises ValueError for other shapes or types.
        """
        check_waveform(waveform, self.sound_channels)
        frames = steps_of(self.latents(waveform.shape[2]), HOPS)
        sound = waveform.to(self.frozen.device).float().flatten(0, 1)
        sound = _resampled(sound, self.format.sample_rate, self._rate)
        # the spectrum mirrors half a window, which must exist
        length = max(frames * self._hop, self.spec.window // 2 + 1)
        mel = self._mel(pad(sound[:, :length], (0, max(0, length - sound.shape[1]))))[..., :frames]
        # [B, channels, frames, mel bands]; one channel becomes both sides
        both = mel.unflatten(0, (-1, self.sound_channels)).transpose(2, 3)
        both = both.expand(-1, self._sides, -1, -1).to(self.frozen.dtype)
        z = rearrange(self._vae.encode(both).latent_dist.mode(), "b c t m -> b t (c m)").float()
        return (z - self._vae.latents_mean.float()) / self._vae.latents_std.float()

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """[B, T, C] -> float32 [B, channels, samples(T)] in [-1, 1]."""
        if latents.ndim != 3 or latents.shape[2] != self.channels or not latents.shape[1]:
            raise ValueError(
                f"latents are [B, T, {self.channels}] with T >= 1, not {list(latents.shape)}"
            )
        z = (
            latents.to(self.frozen.device).float() * self._vae.latents_std.float()
            + self._vae.latents_mean.float()
        )
        mel = self._vae.decode(
            rearrange(z, "b t (c m) -> b c t m", m=self._bands).to(self.frozen.dtype)
        ).sample
        sound = self._vocoder(mel).float()  # [B, sides, samples]
        if self.sound_channels == 1:
            sound = sound.mean(1, keepdim=True)
        sound = _resampled(sound, self._out_rate, self.format.sample_rate)
        return sound[..., : self.samples(latents.shape[1])].clamp(-1, 1)


def _resampled(waveform: Tensor, rate: int, wanted: int) -> Tensor:
    """[..., samples] -> [..., ceil(samples * wanted / rate)]."""
    from torchaudio.functional import resample

    return resample(waveform, rate, wanted)
