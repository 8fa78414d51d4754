"""A codec turns frames or sound into latents and back, and tells when each latent sounds or shows.

`encode` and `decode` work on the device of what they are given, and give their result there. A
codec with weights lists the modules that own them in `external_modules` (`HasExternalModules`), so
that callers can move them; it computes on their device and returns float32 there. Its weights are
not part of the model's, and come from the files that its settings name.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor

from harmony_parts.av import Format


@runtime_checkable
class VideoCodec(Protocol):
    """Frames uint8 [B, F, H, W, 3] to latents float32 [B, T, h, w, C] and back, deterministic in
    both directions.
    """

    channels: int
    grid: tuple[int, int]  # (h, w) of the latents

    def latents(self, frames: int) -> int:
        """How many latents `frames` frames take. `encode` repeats the last frame where the last
        latent needs more.
        """

    def frames(self, latents: int) -> int:
        """How many frames `latents` latents hold."""

    def encode(self, frames: Tensor) -> Tensor:
        """uint8 [B, F, H, W, 3] at the format's size -> [B, latents(F), h, w, C], of about unit
        scale.
        """

    def decode(self, latents: Tensor) -> Tensor:
        """[B, T, h, w, C] -> uint8 [B, frames(T), H, W, 3]."""

    def clock(self, latents: int) -> Tensor:
        """float64 [latents, 2]: the (start, end) in seconds of what each latent shows; starts and
        ends never decrease.
        """


@runtime_checkable
class AudioCodec(Protocol):
    """Sound float32 [B, samples] (mono, the format's sample rate) to latents float32 [B, T, C] and
    back.
    """

    channels: int

    def latents(self, samples: int) -> int:
        """How many latents `samples` samples take."""

    def samples(self, latents: int) -> int:
        """How many samples `latents` latents hold."""

    def encode(self, waveform: Tensor) -> Tensor:
        """[B, samples] in [-1, 1] -> [B, latents(samples), C], of about unit scale."""

    def decode(self, latents: Tensor) -> Tensor:
        """[B, T, C] -> [B, samples(T)]; deterministic: any phase or noise that it makes up comes
        from a fixed seed.
        """

    def clock(self, latents: int) -> Tensor:
        """float64 [latents, 2]: the (start, end) in seconds of what each latent sounds; starts and
        ends never decrease.
        """


def grid_of(codec: VideoCodec | AudioCodec) -> tuple[int, ...]:
    """(h, w) of a video codec's latents, () of an audio codec's: latents are [B, T, *grid, C]."""
    grid: tuple[int, ...] = getattr(codec, "grid", ())
    return grid


class VideoCodecSpec(Protocol):
    """Settings of a video codec."""

    def build(self, *, format: Format) -> VideoCodec:
        """The codec for clips of that format. Raises ValueError where it can't serve the size."""


class AudioCodecSpec(Protocol):
    """Settings of an audio codec."""

    def build(self, *, format: Format) -> AudioCodec:
        """The codec for sound of that format."""
