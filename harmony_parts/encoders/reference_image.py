"""The image that the clip begins with, as latents of the video codec."""

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
    """Prompt.image uint8 [H, W, 3] -> condition "image", the codec's latents of that one frame.

    Its tokens are [B, R, h, w, C], its mask [B, R], R the latents of one frame: 1. An absent image
    is zeros with mask False, which is also the null form. It has no weights and passes no gradient.
    Raises AssemblyError without a video codec, ValueError if an image has another size than the
    model's format.
    """

    def build(
        self, *, format: Format, codecs: AV[VideoCodec | AudioCodec]
    ) -> ReferenceImageEncoder:
        """The encoder, which uses the model's own video codec."""
        if codecs.video is None:
            raise AssemblyError(
                "a reference image needs a video codec; add $.codecs.video, or remove this encoder"
            )
        return ReferenceImageEncoder(format, cast(VideoCodec, codecs.video))


class ReferenceImageEncoder(nn.Module):
    """The encoder of `ReferenceImage`."""

    produces: Mapping[str, int]
    home: Tensor

    def __init__(self, format: Format, codec: VideoCodec) -> None:
        super().__init__()
        self.format = format
        # In a tuple, so that torch doesn't register the codec as a submodule and save its weights
        # twice.
        self.codecs = (codec,)
        self.produces = {"image": codec.channels}
        self.register_buffer("home", torch.zeros(()), persistent=False)  # the device of its output

    @torch.no_grad()
    def forward(self, prompts: Sequence[Prompt]) -> dict[str, Condition]:
        """{"image": tokens [B, R, h, w, C], mask [B, R]}."""
        (codec,) = self.codecs
        rows = [row for row, prompt in enumerate(prompts) if prompt.image is not None]
        null = self.home.new_zeros(len(prompts), codec.latents(1), *codec.grid, codec.channels)
        empty = torch.zeros(null.shape[:2], dtype=torch.bool, device=null.device)
        tokens, mask = null.clone(), empty.clone()
        if rows:
            frames = torch.stack([self._checked(prompts[row].image, row) for row in rows])[:, None]
            tokens[rows] = codec.encode(frames.to(null.device)).to(null)
            mask[rows] = True
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
                f" {want}: resize or crop it first"
            )
        return image
