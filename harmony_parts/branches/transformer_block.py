"""One layer as in Wan2.2: modulated self-attention with RoPE, text cross-attention, modulated
feed-forward.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from harmony_parts.branches.protocol import Term, Tokens
from harmony_parts.layers.attention import Heads, attend, modulation_start
from harmony_parts.layers.linear import LayerNorm, mlp, plain_norm
from harmony_parts.layers.rope import rotate


class TransformerBlock(nn.Module):
    """A layer of a branch whose text comes in by cross-attention. Hidden states [B, T, S, D] all
    the way.
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

    def _modulation(self, tokens: Tokens, part: int) -> list[Tensor]:
        """Shift, scale and gate of the attention (part 0) or the feed-forward (1), each [B, T or 1,
        1, D].
        """
        rows = (
            tokens.modulation.six[:, :, 3 * part : 3 * part + 3]
            + self.modulation[3 * part : 3 * part + 3]
        )
        return [x[:, :, None] for x in tokens.modulation.at(rows)]

    def apply_self_attention(self, tokens: Tokens) -> Tokens:
        """Self-attention over all tokens of the stream."""
        shift, scale, gate = self._modulation(tokens, 0)
        x = (self.norm1(tokens.hidden) * (1 + scale) + shift).flatten(1, 2)
        q, (k, v) = self.self_attention.query(x), self.self_attention.keys(x)
        turn = tokens.rope.flatten(0, 1)[:, None]  # [T S, 1, d/2, 2]
        out = self.self_attention.out(attend(rotate(q, turn), rotate(k, turn), v))
        return replace(tokens, hidden=tokens.hidden + gate * out.view_as(tokens.hidden))

    def apply_text_attention(self, tokens: Tokens, term: Term | None = None) -> Tokens:
        """Text attention: o(attn(q, text) + term(q)), without a gate. Where there is no text, there
        is no bias of o either: a term of 0 adds 0.
        """
        if tokens.context is None and term is None:
            return tokens
        q = self.text_attention.query(self.norm3(tokens.hidden))
        heard = torch.zeros_like(q) if term is None else term(q)
        if tokens.context is None:
            return replace(tokens, hidden=tokens.hidden + self.text_attention.out_again(heard))
        k, v = self.text_attention.keys(tokens.context)
        heard = heard + attend(q.flatten(1, 2), k, v, tokens.context_mask).view_as(q)
        return replace(tokens, hidden=tokens.hidden + self.text_attention.out(heard))

    def apply_feed_forward(self, tokens: Tokens) -> Tokens:
        """Feed-forward."""
        shift, scale, gate = self._modulation(tokens, 1)
        x = self.norm2(tokens.hidden) * (1 + scale) + shift
        return replace(tokens, hidden=tokens.hidden + gate * self.ffn(x))
