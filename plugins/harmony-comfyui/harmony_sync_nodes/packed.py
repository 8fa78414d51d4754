"""ComfyUI's packed latent of two streams, and the masks that say what of it is given.

While it samples, ComfyUI holds video [B, C, T, H, W] and sound [B, C, T, F] as one tensor
[B, 1, N]. The conditions' `latent_shapes` say where each of them lies, and their masks (1: to be
generated, 0: given) become the times of the tokens: mask times sigma.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor

from harmony_parts.av import AV, STREAMS

MASKS = {"video": "denoise_mask", "audio": "audio_denoise_mask"}

Conds = Sequence[Mapping[str, Any]]
"""Conditions of a pass: each with its tensors in `model_conds`."""


@attrs.frozen
class Layout:
    """The shapes of the streams in a packed latent, video first."""

    shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, conds: Conds) -> Layout | None:
        """The layout that the conditions name; `None` if the latent isn't one of two streams."""
        for cond in conds:
            shapes = cond["model_conds"].get("latent_shapes")
            if shapes is not None and len(shapes.cond) == len(STREAMS):
                return cls(tuple(tuple(shape) for shape in shapes.cond))
        return None

    def shape(self, stream: str) -> tuple[int, ...]:
        """The shape of a stream, without the batch."""
        return self.shapes[STREAMS.index(stream)][1:]

    def streams(self, packed: Tensor) -> dict[str, Tensor]:
        """The streams of [B, 1, N], each in ComfyUI's shape; views where that can be."""
        sizes = [math.prod(self.shape(stream)) for stream in STREAMS]
        parts = packed.split(sizes, dim=-1)
        return {
            stream: part.reshape(len(packed), *self.shape(stream))
            for stream, part in zip(STREAMS, parts, strict=True)
        }

    def packed(self, streams: Mapping[str, Tensor]) -> Tensor:
        """[B, 1, N] of the streams in ComfyUI's shapes."""
        return torch.cat([streams[s].reshape(len(streams[s]), 1, -1) for s in STREAMS], dim=-1)

    def av(self, packed: Tensor) -> AV[Tensor]:
        """The streams as the library's guidances read them: [B, T, H, W, C] and [B, T, F C]."""
        each = self.streams(packed)
        return AV(each["video"].movedim(1, -1), each["audio"].movedim(1, -1).flatten(2))

    def from_av(self, av: AV[Tensor], like: Tensor) -> Tensor:
        """[B, 1, N] of the library's streams; zeros for those that `av` lacks."""
        channels, _, bins = self.shape("audio")
        streams = self.streams(torch.zeros_like(like))
        if av.video is not None:
            streams["video"] = av.video.movedim(-1, 1)
        if av.audio is not None:
            streams["audio"] = av.audio.unflatten(2, (bins, channels)).movedim(-1, 1)
        return self.packed(streams)


def mask_of(conds: Conds, stream: str) -> Tensor | None:
    """The stream's mask, `None` if all of it is to be generated."""
    for cond in conds:
        mask = cond["model_conds"].get(MASKS[stream])
        if mask is not None:
            found: Tensor = mask.cond
            return found
    return None


def is_given(mask: Tensor | None, latents: int) -> bool:
    """Whether nothing of the first `latents` in time is to be generated.

    What follows them are guide frames. Negative values mark guides that the model leaves out.
    """
    return mask is not None and not bool((mask[:, :, :latents] > 0).any())


def as_given(conds: Conds, stream: str, shape: tuple[int, ...], wrap: Any) -> list[dict[str, Any]]:
    """The conditions with all of `stream` marked as given; `wrap` makes a condition's tensor.

    Values below 0 stay, because they mark guides that the model leaves out.
    """
    changed = []
    for cond in conds:
        old = cond["model_conds"].get(MASKS[stream])
        mask = torch.zeros(1, *shape) if old is None else old.cond.clamp(max=0)
        marked = {**cond["model_conds"], MASKS[stream]: wrap(mask)}
        changed.append({**cond, "model_conds": marked})
    return changed
