"""A codec whose weights are on the device only while it works."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from harmony_parts.models.offload import part_modules, weights_on_device


class OffloadedCodec:
    """A codec whose weights come to the device for each call, all at once.

    Not layer by layer: a codec runs its layers many times for one clip.
    """

    def __init__(self, codec: Any, device: torch.device) -> None:
        self._codec, self._device = codec, device

    def __getattr__(self, name: str) -> Any:
        # `copy` and `pickle` ask an object for its methods before it has attributes
        if name == "_codec":
            raise AttributeError(name)
        return getattr(self._codec, name)

    @property
    def external_modules(self) -> tuple[nn.Module, ...]:
        """The modules that own the codec's weights."""
        return part_modules(self._codec)

    def encode(self, given: Tensor) -> Tensor:
        """Latents of frames or of sound, as the codec encodes them."""
        with weights_on_device(self._codec, self._device, "parts"):
            return cast(Tensor, self._codec.encode(given))

    def decode(self, latents: Tensor) -> Tensor:
        """Frames or sound of latents, as the codec decodes them."""
        with weights_on_device(self._codec, self._device, "parts"):
            return cast(Tensor, self._codec.decode(latents))


def offloaded(codec: Any, device: torch.device) -> Any:
    """The codec wrapped in `OffloadedCodec`, or itself if it has no weights."""
    return OffloadedCodec(codec, device) if part_modules(codec) else codec
