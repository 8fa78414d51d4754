"""A codec maps frames or sound to latents and back, and gives each latent's time interval.

`encode` and `decode` run on the device of their input and return their result there. A codec
with weights lists the modules that own them in `external_modules` (`HasExternalModules`), so
that callers can move them; it computes on their device and returns float32 there. Its weights are
not part of the model's, and come from the files that its settings name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from harmony_parts.av import Format


@runtime_checkable
class VideoCodec(Protocol):
    """Frames uint8 [B, F, H, W, 3] <-> latents float32 [B, T, h, w, C], both deterministic."""

    channels: int
    grid: tuple[int, int]  # (h, w) of the latents

    def latents(self, frames: int) -> int:
        """Number of latents of `frames` frames; `encode` repeats the last frame to fill them."""

    def frames(self, latents: int) -> int:
        """Number of frames that `latents` latents decode to."""

    def encode(self, frames: Tensor) -> Tensor:
        """uint8 [B, F, H, W, 3] at the format's size -> [B, latents(F), h, w, C], of about unit
        scale.
        """

    def decode(self, latents: Tensor) -> Tensor:
        """[B, T, h, w, C] -> uint8 [B, frames(T), H, W, 3]."""

    def clock(self, latents: int) -> Tensor:
        """float64 [latents, 2]: (start, end) of each latent in seconds, neither ever decreasing."""


@runtime_checkable
class AudioCodec(Protocol):
    """Sound float32 [B, channels, samples] <-> latents float32 [B, T, C].

    The sound has the rate and the channels of the format; a latent covers all channels.
    """

    channels: int  # C of the latents
    sound_channels: int  # of the sound: those of the format

    def latents(self, samples: int) -> int:
        """Number of latents of `samples` samples of a channel."""

    def samples(self, latents: int) -> int:
        """Number of samples of a channel that `latents` latents decode to."""

    def encode(self, waveform: Tensor) -> Tensor:
        """[B, channels, samples] in [-1, 1] -> [B, latents(samples), C], of about unit scale."""

    def decode(self, latents: Tensor) -> Tensor:
        """[B, T, C] -> [B, channels, samples(T)]; any phase or noise that it invents has a fixed
        seed.
        """

    def clock(self, latents: int) -> Tensor:
        """float64 [latents, 2]: (start, end) of each latent in seconds, neither ever decreasing."""


def check_waveform(waveform: Tensor, channels: int) -> None:
    """Raise ValueError if a codec's input isn't floating point [B, channels, samples]."""
    shape = list(waveform.shape)
    if len(shape) != 3 or shape[1] != channels or not waveform.is_floating_point():
        raise ValueError(
            f"a waveform is floating point [B, {channels}, samples], with the format's channels,"
            f" not {waveform.dtype} {shape}"
        )


def grid_of(codec: VideoCodec | AudioCodec) -> tuple[int, ...]:
    """(h, w) of a video codec's latents, () of an audio codec's: latents are [B, T, *grid, C]."""
    grid: tuple[int, ...] = getattr(codec, "grid", ())
    return grid


class VideoCodecSpec(Protocol):
    """Settings of a video codec."""

    def build(self, *, format: Format) -> VideoCodec:
        """The codec for clips of that format. Raises ValueError if it can't encode that size."""


class AudioCodecSpec(Protocol):
    """Settings of an audio codec."""

    def build(self, *, format: Format) -> AudioCodec:
        """The codec for sound of that format.

        Raises ValueError if it can't encode that rate or that number of channels.
        """


class CodecNetwork(Protocol):
    """The torch module of a codec that `harmony train-codec` trains.

    Parameters whose names begin with one of `ends` are trained by AdamW, like biases, those of
    `slow` at a tenth of the learning rate; all others by Muon.
    """

    encoder: nn.Module
    length: int  # frames or samples of a training example
    ends: tuple[str, ...]
    slow: tuple[str, ...]

    def begin(self, media: Sequence[Tensor], generator: torch.Generator) -> None:
        """Set what is computed from the clips before the first step."""

    def loss(self, media: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The loss, and the mean squared error of values in [-1, 1], of frames [B, length, H, W, 3]
        (uint8) or sound [B, length, channels]. All noise comes from `generator`.
        """


@runtime_checkable
class TrainableCodecSpec(Protocol):
    """Settings of a codec whose weights can be trained."""

    weights: str  # the file of the weights

    def network(self) -> nn.Module:
        """The network, a `CodecNetwork`, with fresh weights from torch's global generator."""
