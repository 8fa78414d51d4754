"""Sound latents of MMAudio, through diffusers' MMAudioVAE and MMAudioVocoder."""

from __future__ import annotations

import math
from typing import Any, Literal

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
    on_meta,
    precision_knob,
    revision_knob,
    subfolder_knob,
)
from harmony_diffusers.mel import MelSpectrum
from harmony_parts.av import Format
from harmony_parts.codecs.protocol import check_waveform
from harmony_parts.plugin import knob

FORMS: dict[str, dict[str, Any]] = {
    "16k": {
        "mel_bins": 80,
        "latent_channels": 20,
        "hidden_channels": 384,
        "sample_rate": 16000,
        "n_fft": 1024,
        "hop_length": 256,
    },
    "44k": {
        "mel_bins": 128,
        "latent_channels": 40,
        "hidden_channels": 512,
        "sample_rate": 44100,
        "n_fft": 2048,
        "hop_length": 512,
    },
}
"""MMAudio's two autoencoders; the vocoders' defaults match them."""


@attrs.frozen
class MMAudio:
    """The autoencoder of MMAudio over log-mel spectra, with its vocoder, as in Ovi and Harmony.

    Sound [B, channels, samples] <-> latents [B, T, channels x 20]: waveform -> mel -> mean of the
    distribution -> mel -> vocoder. It is an autoencoder of mono sound: the channels of a stereo
    format are encoded and decoded each by itself, one's latents after the other's. The form "16k"
    has 20 channels, 31.25 latents per second and decimal logarithms, "44k" has 40 channels, 43.07
    latents per second and natural logarithms. As in Ovi, latents aren't normalised, except by
    `scale`. Input is moved to the weights' device, and the result stays there. The weights for 16
    kHz are 172 M (autoencoder) and 112 M parameters (vocoder): 1.1 GB in float32. Source:
    arXiv:2412.15322; as Ovi uses it, arXiv:2510.01284. MMAudio's weights are CC-BY-NC 4.0: not for
    commercial use.
    """

    form: Literal["16k", "44k"] = knob(
        "16k",
        help="one of MMAudio's two autoencoders",
        validator=attrs.validators.in_(tuple(FORMS)),
    )
    model: str = model_knob("")
    subfolder: str = subfolder_knob("audio_vae", "autoencoder")
    vocoder_subfolder: str = subfolder_knob("vocoder", "vocoder")
    revision: str = revision_knob()
    config: dict[str, Any] = config_knob("diffusers.MMAudioVAE")
    vocoder_config: dict[str, Any] = config_knob("diffusers.MMAudioVocoder")
    precision: Precision = precision_knob("float32")
    scale: float = knob(
        1.0,
        help="factor on latents, divided out before decoding",
        off=1.0,
        source="Ovi has none; Kandinsky 6: 0.417, for 44k",
        validator=attrs.validators.gt(0),
    )

    def __attrs_post_init__(self) -> None:
        if bool(self.config) != bool(self.vocoder_config):
            raise ValueError(
                "config and vocoder_config go together: give both, for random weights, or neither"
            )

    def build(self, *, format: Format) -> MMAudioCodec:
        """The codec.

        Raises ValueError if the weights can't be loaded or have another form, or if the format has
        another sample rate.
        """
        return MMAudioCodec(self, format)


class MMAudioCodec:
    """The AudioCodec of `MMAudio`."""

    def __init__(self, spec: MMAudio, format: Format) -> None:
        self.spec, self.format = spec, format
        self._vae, self._vocoder, config = _models(spec)
        self.frozen = Frozen(self._vae, self._vocoder)
        if format.sample_rate != config["sample_rate"]:
            raise ValueError(
                f"the sound is at {format.sample_rate} Hz, but this autoencoder is for"
                f" {config['sample_rate']} Hz: set format.sample_rate to that, or use another form"
            )
        hop, window = config["hop_length"], config["n_fft"]
        rates = self._vocoder.config.upsample_rates
        if math.prod(rates) != hop:
            raise ValueError(
                f"the vocoder has {math.prod(rates)} samples per mel frame ({rates}), but the"
                f" autoencoder has a frame every {hop} samples"
            )
        self._step = 2 * hop  # samples per latent
        self.sound_channels = format.channels
        self._width: int = config["latent_channels"]  # latent channels of one channel of the sound
        self.channels: int = format.channels * self._width
        self._mel = MelSpectrum(
            format.sample_rate,
            window,
            hop,
            config["mel_bins"],
            margin=(window - hop) // 2,
            power=1e-9,
        )
        self._unit = math.log(10) if spec.form == "16k" else 1.0

    @property
    def external_modules(self) -> tuple[nn.Module, ...]:
        """The modules that own the weights."""
        return self.frozen.models

    def latents(self, samples: int) -> int:
        """Number of latents of `samples` samples; the last one may be partly filled."""
        if samples < 1:
            raise ValueError(f"a sound has at least one sample, not {samples}")
        return -(-samples // self._step)

    def samples(self, latents: int) -> int:
        """Number of samples of `latents` latents: two hops each."""
        return latents * self._step

    def clock(self, latents: int) -> Tensor:
        """float64 [latents, 2] (start, end) in seconds, of two hops each."""
        edges = (
            torch.arange(latents + 1, dtype=torch.float64) * self._step / self.format.sample_rate
        )
        return torch.stack([edges[:-1], edges[1:]], dim=1)

    @torch.no_grad()
    def encode(self, waveform: Tensor) -> Tensor:
        """Float [B, channels, samples] in [-1, 1] -> float32 [B, latents(samples), C].

        The rest of the last latent is mute. Raises ValueError for other shapes or types.
        """
        check_waveform(waveform, self.sound_channels)
        rest = self.samples(self.latents(waveform.shape[2])) - waveform.shape[2]
        sound = waveform.to(self.frozen.device).float().flatten(0, 1).clamp(-1, 1)
        mel = (self._mel(nn.functional.pad(sound, (0, rest))) / self._unit).to(self.frozen.dtype)
        mean = self._vae.encode(mel)[:, : self._width]  # the other half is log-variances
        joined = rearrange(mean, "(b channel) c t -> b t (channel c)", channel=self.sound_channels)
        return joined.float() * self.spec.scale

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """[B, T, C] -> float32 [B, channels, samples(T)] in [-1, 1]."""
        if latents.ndim != 3 or latents.shape[2] != self.channels or not latents.shape[1]:
            raise ValueError(
                f"latents are [B, T, {self.channels}] with T >= 1, not {list(latents.shape)}"
            )
        z = (latents.to(self.frozen.device).float() / self.spec.scale).to(self.frozen.dtype)
        apart = rearrange(z, "b t (channel c) -> (b channel) c t", channel=self.sound_channels)
        sound = self._vocoder(self._vae.decode(apart)).sample[:, 0].float()
        return sound.unflatten(0, (-1, self.sound_channels))


def _models(spec: MMAudio) -> tuple[Any, Any, dict[str, Any]]:
    """Autoencoder (of mel spectra, without diffusers' front end), vocoder, configuration."""
    from diffusers import MMAudioVocoder

    from harmony_diffusers.bigvgan import BigVGAN16k

    vocoder_cls = BigVGAN16k if spec.form == "16k" else MMAudioVocoder
    if not (spec.model or spec.config or on_meta()):
        raise ValueError(
            "`model` is empty: set it to a folder with audio_vae and vocoder; `python -m"
            " harmony_diffusers.convert_mmaudio` converts MMAudio's files (v1-16.pth, best_netG.pt)"
            " to it"
        )
    vae, config = _autoencoder(spec)
    vocoder = diffusers_model(
        vocoder_cls,
        {},
        spec.vocoder_config,
        spec.precision,
        spec.model,
        spec.vocoder_subfolder,
        spec.revision,
    )
    return vae, vocoder, config


def _autoencoder(spec: MMAudio) -> tuple[Any, dict[str, Any]]:
    """The autoencoder of mel spectra, and its configuration."""
    from diffusers import MMAudioVAE
    from diffusers.models.autoencoders.autoencoder_mmaudio import MMAudioAutoencoder

    form = FORMS[spec.form]
    # MMAudioVAE computes mel filters when it is built, which needs memory; they aren't used here.
    if on_meta():
        config = form | {"channel_multipliers": (1, 2, 4), "layers_per_block": 2} | spec.config
        names = (
            "mel_bins",
            "latent_channels",
            "hidden_channels",
            "channel_multipliers",
            "layers_per_block",
        )
        return MMAudioAutoencoder(*(config[name] for name in names)), config
    whole = diffusers_model(
        MMAudioVAE,
        {},
        {**form, **spec.config} if spec.config else {},
        spec.precision,
        spec.model,
        spec.subfolder,
        spec.revision,
    )
    config = dict(whole.config)
    wrong = [
        name
        for name in ("mel_bins", "sample_rate")
        if not spec.config and config[name] != form[name]
    ]
    if wrong:
        raise ValueError(
            f"model {spec.model!r} has {wrong[0]} {config[wrong[0]]}, but the form"
            f" {spec.form!r} {form[wrong[0]]}; change form"
        )
    return whole.vae, config
