"""A layer as in Wan2.2: self-attention with RoPE, text cross-attention, feed-forward."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from harmony_parts.branches.protocol import Term, Tokens
from harmony_parts.layers.attention import Heads, attend, modulation_start
from harmony_parts.layers.linear import LayerNorm, mlp, plain_norm
from harmony_parts.layers.rope import rotate
from harmony_parts.layers.sequence import WHOLE, VideoShare, check_divides, self_attend


class TransformerBlock(nn.Module):
    """A layer with text cross-attention; time modulates self-attention and feed-forward.

    Hidden states are [B, T, S, D] throughout.
    """

    def __init__(self, width: int, heads: int, feed: int) -> None:
        super().__init__()
        self.modulation = modulation_start(width)
        self.norm1, self.norm2, self.norm3 = (
            plain_norm(width),
            plain_norm(width),
            LayerNorm(width, eps=1e-6),
        )
        self.self_attention, self.text_attention = Heads(width, heads), Heads(width, heads)
        self.ffn = mlp(width, feed, width)
        self.share = WHOLE

    def share_video(self, share: VideoShare) -> None:
        """Only the self-attention needs the tokens of other processes."""
        check_divides(self.self_attention.heads, "heads of the video branch", share)
        self.share = share

    def _modulation(self, tokens: Tokens, part: int) -> list[Tensor]:
        """Shift, scale, gate [B, T or 1, 1, D] of self-attention (part 0) or feed-forward (1)."""
        rows = (
            tokens.modulation.six[:, :, 3 * part : 3 * part + 3]
            + self.modulation[3 * part : 3 * part + 3]
        )
        return [x[:, :, None] for x in tokens.modulation.at(rows)]

    def apply_self_attention(self, tokens: Tokens) -> Tokens:
        """z + gate o(attention(norm(z) (1 + scale) + shift)), over all tokens of the stream."""
        shift, scale, gate = self._modulation(tokens, 0)
        x = (self.norm1(tokens.hidden) * (1 + scale) + shift).flatten(1, 2)
        q, (k, v) = self.self_attention.query(x), self.self_attention.keys(x)
        turn = tokens.rope.flatten(0, 1)[:, None]  # [T S, 1, d/2, 2]
        out = self.self_attention.out(self_attend(rotate(q, turn), rotate(k, turn), v, self.share))
        return replace(tokens, hidden=tokens.hidden + gate * out.view_as(tokens.hidden))

    def apply_text_attention(self, tokens: Tokens, term: Term | None = None) -> Tokens:
        """z + o(attention(q, text) + term(q)), without a gate.

        Without text there is no bias of o either, so that a term of 0 adds 0.
        """
        if tokens.context is None and term is None:
            return tokens
        q = self.text_attention.query(self.norm3(tokens.hidden))
        received = torch.zeros_like(q) if term is None else term(q)
        if tokens.context is None:
            update = self.text_attention.out_without_bias(received)
            return replace(tokens, hidden=tokens.hidden + update)
        k, v = self.text_attention.keys(tokens.context)
        received = received + attend(q.flatten(1, 2), k, v, tokens.context_mask).view_as(q)
        return replace(tokens, hidden=tokens.hidden + self.text_attention.out(received))

    def apply_feed_forward(self, tokens: Tokens) -> Tokens:
        """z + gate mlp(norm(z) (1 + scale) + shift)."""
        shift, scale, gate = self._modulation(tokens, 1)
        x = self.norm2(tokens.hidden) * (1 + scale) + shift
        return replace(tokens, hidden=tokens.hidden + gate * self.ffn(x))
