"""An audio branch whose text comes in by cross-attention, as in Ovi: the video branch's layer over a 1-D sequence."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
import torch
from torch import Tensor, nn

from harmony_parts.av import Conditions, Times
from harmony_parts.blocks.modulation import Head, TimeEmbedding
from harmony_parts.blocks.protocol import How, Tokens
from harmony_parts.blocks.told import Listener, Told
from harmony_parts.blocks.transformer import TransformerBlock
from harmony_parts.blocks.video import check_heads
from harmony_parts.errors import AssemblyError
from harmony_parts.plugin import knob
from harmony_parts.rope import angles, table


@attrs.frozen
class CrossAudio:
    """Settings of the audio branch."""

    width: int = knob(3072, help="Width of the hidden states.", unit="channels", source="Ovi", validator=attrs.validators.ge(2))
    heads: int = knob(24, help="Attention heads; the width of one must be even.", source="Ovi", validator=attrs.validators.ge(1))
    feed: int = knob(14336, help="Width inside the feed-forward.", unit="channels", source="Ovi", validator=attrs.validators.ge(1))

    def __attrs_post_init__(self) -> None:
        check_heads(self.width, self.heads)

    def build(self, *, channels: int, grid: tuple[int, ...], conditions: Mapping[str, tuple[How, int]]) -> CrossBranch:
        """A branch for latents of that many channels. Raises AssemblyError for clean tokens: it has no place for a reference."""
        for name, (how, _) in conditions.items():
            if how == "clean_tokens":
                raise AssemblyError(
                    f"$.denoiser.audio: `cross` has no reference group for the condition {name!r}; use `mmdit`, or leave its encoder out"
                )
        return CrossBranch(self, channels, conditions)


class CrossBranch(nn.Module):
    """Latents [B, T, C] to tokens [B, T, 1, D] and back."""

    def __init__(self, spec: CrossAudio, channels: int, conditions: Mapping[str, tuple[How, int]]) -> None:
        super().__init__()
        self.spec, self.width, self.heads = spec, spec.width, spec.heads
        self.listener = Listener(spec.width, conditions)
        self.time = TimeEmbedding(spec.width)
        self.latent_embedding = nn.Linear(channels, spec.width)
        self.head = Head(spec.width, channels)

    def block(self) -> TransformerBlock:
        """A new layer."""
        return TransformerBlock(self.width, self.heads, self.spec.feed)

    def told(self, conditions: Conditions) -> Told:
        """The conditions at this branch's width."""
        return self.listener(conditions)

    def embed(self, latents: Tensor, times: Times, told: Told) -> Tokens:
        """One token a latent."""
        positions = torch.arange(latents.shape[1], dtype=torch.float64, device=latents.device)
        turns = table(angles(positions, self.width // self.heads // 2))[:, None]
        hidden = self.latent_embedding(latents)[:, :, None]
        return Tokens(hidden, self.time(times, told.add), turns, told.context, told.context_mask)

    def unembed(self, tokens: Tokens, shape: tuple[int, ...]) -> Tensor:
        """Tokens to velocities [B, T, C]."""
        return self.head(tokens.hidden, tokens.modulation).squeeze(2)
