"""The picture that the clip begins with, as the video codec encodes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import attrs
import torch
from torch import Tensor, nn

from harmony_parts.av import AV, Condition, Format, Prompt
from harmony_parts.codecs.protocol import AudioCodec, VideoCodec
from harmony_parts.errors import AssemblyError


@attrs.frozen
class ReferenceImage:
    """Prompt.image uint8 [H, W, 3] -> condition "image": the codec's latents of that one frame,
    tokens [B, R, h, w, C], mask [B, R].

    R is what the codec makes of one frame: 1. Where there is no image: zeros, mask False, which is
    also the null form. It has no weights and carries no gradient. Raises AssemblyError without a
    video codec, ValueError where an image hasn't the size of the model's format.
    """

    def build(
        self, *, format: Format, codecs: AV[VideoCodec | AudioCodec]
    ) -> ReferenceImageEncoder:
        """The encoder, which keeps the model's own video codec."""
        if codecs.video is None:
            raise AssemblyError(
                "a reference image needs a video codec; add $.codecs.video, or take this"
                " encoder out"
            )
        return ReferenceImageEncoder(format, cast(VideoCodec, codecs.video))


class ReferenceImageEncoder(nn.Module):
    """See `ReferenceImage`."""

    produces: Mapping[str, int]
    home: Tensor

    def __init__(self, format: Format, codec: VideoCodec) -> None:
        super().__init__()
        self.format = format
        # in a tuple, so that torch doesn't take the codec for a part of this module and save its
        # weights twice
        self.codecs = (codec,)
        self.produces = {"image": codec.channels}
        self.register_buffer("home", torch.zeros(()), persistent=False)  # the device to answer on

    @torch.no_grad()
    def forward(self, prompts: Sequence[Prompt]) -> dict[str, Condition]:
        """{"image": tokens [B, R, h, w, C], mask [B, R]}."""
        (codec,) = self.codecs
        having = [row for row, prompt in enumerate(prompts) if prompt.image is not None]
        null = self.home.new_zeros(len(prompts), codec.latents(1), *codec.grid, codec.channels)
        empty = torch.zeros(null.shape[:2], dtype=torch.bool, device=null.device)
        tokens, mask = null.clone(), empty.clone()
        if having:
            frames = torch.stack([self._checked(prompts[row].image, row) for row in having])[
                :, None
            ]
            tokens[having] = codec.encode(frames.to(null.device)).to(null)
            mask[having] = True
        return {"image": Condition(tokens, mask, Condition(null, empty))}

    def _checked(self, image: object, row: int) -> Tensor:
        want = (
            f"uint8 [{self.format.height}, {self.format.width}, 3], the size of the model's format"
        )
        if not isinstance(image, Tensor):
            raise ValueError(
                f"the image of prompt {row} must be a torch tensor {want}, not"
                f" {type(image).__name__}"
            )
        if image.dtype != torch.uint8 or tuple(image.shape) != (
            self.format.height,
            self.format.width,
            3,
        ):
            raise ValueError(
                f"the image of prompt {row} is {image.dtype} {list(image.shape)}; it must be"
                f" {want}: resize or cut it first"
            )
        return image
