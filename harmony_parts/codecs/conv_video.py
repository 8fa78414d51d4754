"""Learned video latents: a small convolutional autoencoder, causal in time."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from harmony_parts.av import Format
from harmony_parts.codecs.causal import (
    check_latents,
    fill_last_latent,
    frames_of,
    intervals,
    latents_of,
    to_uint8,
)
from harmony_parts.codecs.conv_networks import FRAMES, STRIDE, VideoAutoencoder
from harmony_parts.codecs.weights import load_network, on_meta
from harmony_parts.plugin import knob


def _multiple_of_8(spec: object, attribute: attrs.Attribute[int], value: int) -> None:
    if value < 8 or value % 8:  # groups of GroupNorm
        raise ValueError(f"width is a positive multiple of 8, not {value}")


@attrs.frozen
class ConvVideo:
    """A small learned video codec: a latent is 4 frames of 8 x 8 pixels, the first one a frame.

    Frames uint8 [B, F, H, W, 3] <-> latents [B, T, H / 8, W / 8, channels], F = 1 + 4 (T - 1). A
    latent depends on its own frames and on those before; a frame on its own latent and on those
    before. An image is exactly one latent, and a repeated image has that latent at every position.
    The weights are trained on the clips that a recipe names, with `harmony train-codec`; a saved
    model has a copy of the file.
    """

    weights: str = knob(
        "",
        help="the file of the weights: codec.safetensors of a run of `harmony train-codec`, or"
        " that of a shipped model, harmony-tiny/codec-video.safetensors",
    )
    channels: int = knob(
        16, help="numbers per latent", unit="channels", validator=attrs.validators.ge(1)
    )
    width: int = knob(
        16,
        help="size of the network, a multiple of 8; 16 has 2.0 M parameters",
        validator=_multiple_of_8,
    )

    def build(self, *, format: Format) -> ConvVideoCodec:
        """The codec for frames of the format's size.

        Raises ValueError if the weights can't be loaded, or 8 doesn't divide the frames' size.
        """
        for name in ("height", "width"):
            if getattr(format, name) % STRIDE:
                raise ValueError(
                    f"{name} {getattr(format, name)} is not a multiple of {STRIDE}, the pixels of a"
                    " latent: change the format"
                )
        empty = on_meta()
        with torch.device("meta"):
            network = self.network()
        if not empty:
            load_network(network, self.weights)
        return ConvVideoCodec(network, format)

    def network(self) -> VideoAutoencoder:
        """The network with fresh weights, for training."""
        return VideoAutoencoder(self.channels, self.width)


class ConvVideoCodec:
    """The VideoCodec of `ConvVideo`."""

    def __init__(self, network: VideoAutoencoder, format: Format) -> None:
        self.network, self.format = network.eval().requires_grad_(False), format
        self.grid = (format.height // STRIDE, format.width // STRIDE)
        self.channels = len(network.mean)

    @property
    def external_modules(self) -> tuple[VideoAutoencoder, ...]:
        """The network."""
        return (self.network,)

    def latents(self, frames: int) -> int:
        """Number of latents of `frames` frames: 1 + ceil((frames - 1) / 4)."""
        return latents_of(frames, FRAMES)

    def frames(self, latents: int) -> int:
        """Number of frames of `latents` latents: 1 + 4 (latents - 1)."""
        return frames_of(latents, FRAMES)

    def clock(self, latents: int) -> Tensor:
        """float64 [latents, 2] (start, end) in seconds; the first latent lasts one frame."""
        return intervals(latents, FRAMES, self.format.fps)

    def encode(self, frames: Tensor) -> Tensor:
        """uint8 [B, F, H, W, 3] -> float32 [B, latents(F), h, w, C].

        The last frame is repeated to fill the last latent. Raises ValueError for other shapes.
        """
        frames = fill_last_latent(self, frames, self.format)
        video = frames.to(self.network.mean.device, torch.float32).div_(127.5).sub_(1)
        with torch.no_grad():
            return self.network.encode(video).float()

    def decode(self, latents: Tensor) -> Tensor:
        """[B, T, h, w, C] -> uint8 [B, frames(T), H, W, 3].

        Raises ValueError for other shapes, and for no latent.
        """
        check_latents(self, latents)
        with torch.no_grad():
            return to_uint8(self.network.decode(latents.to(self.network.mean)))
