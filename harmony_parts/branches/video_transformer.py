"""The video branch: the Wan2.2-TI2V transformer at any size."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import attrs
import torch
from einops import rearrange
from torch import Tensor, nn

from harmony_parts.av import Conditions, Times
from harmony_parts.branches.conditioning import BranchConditions, ConditionProjector
from harmony_parts.branches.protocol import How, Tokens
from harmony_parts.branches.settings import check_heads, precision_knob
from harmony_parts.branches.transformer_block import TransformerBlock
from harmony_parts.layers.linear import Linear, Precision, widen
from harmony_parts.layers.modulation import Head, TimeEmbedding
from harmony_parts.layers.rope import grid_angles, table
from harmony_parts.layers.sequence import WHOLE, VideoShare
from harmony_parts.plugin import knob


@attrs.frozen
class VideoTransformer:
    """Settings of the video branch."""

    width: int = knob(
        3072,
        help="width of the hidden states",
        unit="channels",
        source="Wan2.2-TI2V-5B",
        validator=attrs.validators.ge(2),
    )
    heads: int = knob(
        24,
        help="attention heads; the width of one must be even",
        source="Wan2.2-TI2V-5B",
        validator=attrs.validators.ge(1),
    )
    feed: int = knob(
        14336,
        help="width inside the feed-forward",
        unit="channels",
        source="Wan2.2-TI2V-5B",
        validator=attrs.validators.ge(1),
    )
    patch: int = knob(
        2,
        help="latents per side of a token",
        unit="latents",
        off=1,
        source="Wan2.2-TI2V-5B",
        validator=attrs.validators.ge(1),
    )
    precision: Precision = precision_knob("Wan2.2: float32; Ovi: weights")

    def __attrs_post_init__(self) -> None:
        check_heads(self.width, self.heads)

    def build(
        self, *, channels: int, grid: tuple[int, ...], conditions: Mapping[str, tuple[How, int]]
    ) -> VideoBranch:
        """A branch for latents with these channels.

        Raises ValueError if their grid doesn't split into patches.
        """
        if any(side % self.patch for side in grid):
            raise ValueError(
                f"latents of {' x '.join(map(str, grid))} don't split into patches of {self.patch}"
                f" x {self.patch}: change the patch or the size of the video"
            )
        return VideoBranch(self, channels, conditions)


@lru_cache(maxsize=16)
def _rope(frames: int, height: int, width: int, pairs: int, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # it is cached, and a later call may train
        return table(
            grid_angles(torch.arange(frames, dtype=torch.float64), height, width, pairs)
        ).to(device)


class VideoBranch(nn.Module):
    """Latents [B, T, H, W, C] to tokens [B, T, (H/p)(W/p), D] and back."""

    def __init__(
        self, spec: VideoTransformer, channels: int, conditions: Mapping[str, tuple[How, int]]
    ) -> None:
        super().__init__()
        self.spec, self.width, self.heads = spec, spec.width, spec.heads
        self.listener = ConditionProjector(spec.width, conditions)
        self.time = TimeEmbedding(spec.width, spec.precision)
        self.patch_embedding = Linear(channels * spec.patch**2, spec.width)
        self.head = Head(spec.width, channels * spec.patch**2)
        self.share = WHOLE

    def share_video(self, share: VideoShare) -> None:
        """Tokens are divided after their embedding, and joined before the output layer."""
        self.share = share

    def block(self) -> TransformerBlock:
        """A new layer with new weights."""
        return TransformerBlock(self.width, self.heads, self.spec.feed)

    def grid(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Rows and columns of patches in a latent."""
        return shape[2] // self.spec.patch, shape[3] // self.spec.patch

    def project_conditions(self, conditions: Conditions) -> BranchConditions:
        """The conditions at the branch's width."""
        return self.listener(conditions)

    def embed(self, latents: Tensor, times: Times, conditions: BranchConditions) -> Tokens:
        """Patches to tokens, of which this process gets its share."""
        p, pairs = self.spec.patch, self.width // self.heads // 2
        patches = rearrange(latents, "b t (h p) (w q) c -> b t (h w) (p q c)", p=p, q=p)
        hidden = widen(self.patch_embedding(patches), self.spec.precision)
        rope = _rope(latents.shape[1], *self.grid(latents.shape), pairs, latents.device)
        return Tokens(
            self.share.take(hidden, 2),
            self.time(times, conditions.add),
            self.share.take(rope, 1),
            conditions.context,
            conditions.context_mask,
        )

    def unembed(self, tokens: Tokens, shape: tuple[int, ...]) -> Tensor:
        """Tokens to velocities [B, T, H, W, C]."""
        hidden = self.share.join(tokens.hidden, 2)
        out, p = self.head(hidden, tokens.modulation), self.spec.patch
        return rearrange(out, "b t (h w) (p q c) -> b t (h p) (w q) c", h=shape[2] // p, p=p, q=p)
