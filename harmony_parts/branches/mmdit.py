"""The audio branch of Harmony: an MM-DiT over [reference; target; speech; prompt] with one set of
weights (paper, section 3.1).

Reference and target are latents of the same codec. Everything that the branch is told in words is
part of the sequence and is updated with it. Group embeddings say which token is which; the target's
RoPE positions start at 0, the reference's end at -1, words don't turn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import attrs
import torch
from torch import Tensor, nn

from harmony_parts.av import Conditions, Times
from harmony_parts.branches.conditioning import BranchConditions, ConditionProjector
from harmony_parts.branches.protocol import How, Term, Tokens
from harmony_parts.branches.video_transformer import check_heads, precision_knob
from harmony_parts.layers.attention import Heads, attend, modulation_start
from harmony_parts.layers.linear import Linear, Precision, mlp, plain_norm, widen
from harmony_parts.layers.modulation import Head, Modulation, TimeEmbedding
from harmony_parts.layers.rope import angles, rotate, table
from harmony_parts.plugin import knob


@attrs.frozen
class MMDiT:
    """Settings of the audio branch."""

    width: int = knob(
        3072,
        help="Width of the hidden states.",
        unit="channels",
        source="paper: as the video branch",
        validator=attrs.validators.ge(2),
    )
    heads: int = knob(
        24,
        help="Attention heads; the width of one must be even.",
        source="paper: as the video branch",
        validator=attrs.validators.ge(1),
    )
    feed: int = knob(
        14336,
        help="Width inside the feed-forward.",
        unit="channels",
        source="paper: as the video branch",
        validator=attrs.validators.ge(1),
    )
    precision: Precision = precision_knob("as the video branch")

    def __attrs_post_init__(self) -> None:
        check_heads(self.width, self.heads)

    def build(
        self, *, channels: int, grid: tuple[int, ...], conditions: Mapping[str, tuple[How, int]]
    ) -> MMDiTBranch:
        """A branch for latents of that many channels."""
        return MMDiTBranch(self, channels, conditions)


class MMDiTBranch(nn.Module):
    """Latents [B, T, C] to tokens [B, T, 1, D] and back."""

    def __init__(
        self, spec: MMDiT, channels: int, conditions: Mapping[str, tuple[How, int]]
    ) -> None:
        super().__init__()
        self.spec, self.width, self.heads = spec, spec.width, spec.heads
        self.listener = ConditionProjector(spec.width, conditions)
        self.time = TimeEmbedding(spec.width, spec.precision)
        self.latent_embedding = Linear(channels, spec.width)
        self.reference_group, self.target_group = (
            nn.Parameter(torch.randn(spec.width) * 0.02) for _ in range(2)
        )
        self.head = Head(spec.width, channels)

    def block(self) -> MMDiTBlock:
        """A new layer."""
        return MMDiTBlock(self.width, self.heads, self.spec.feed)

    def grid(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """One token a latent."""
        return 1, 1

    def project_conditions(self, conditions: Conditions) -> BranchConditions:
        """The conditions at this branch's width."""
        return self.listener(conditions)

    def embed(self, latents: Tensor, times: Times, conditions: BranchConditions) -> Tokens:
        """The target's tokens, with the reference and the words beside them."""
        (batch, length), pairs = latents.shape[:2], self.width // self.heads // 2
        positions = torch.arange(length, dtype=torch.float64, device=latents.device).expand(
            batch, -1
        )
        values, index, reference, context, mask = (
            times.values,
            times.index,
            None,
            conditions.context,
            None,
        )
        if conditions.reference is not None:
            mask = conditions.reference.mask
            reference = self._wide(
                self.latent_embedding(conditions.reference.tokens) + self.reference_group
            )
            # the last reference token that counts is at -1, however far the batch is padded
            before = torch.arange(mask.shape[1], device=mask.device) - mask.sum(1, keepdim=True)
            positions = torch.cat((before.double(), positions), dim=1)
            values = torch.cat((values, torch.zeros_like(values[:, :1])), dim=1)
            index = torch.cat(
                (torch.full_like(mask, values.shape[1] - 1, dtype=torch.long), index), dim=1
            )
        turns = table(angles(positions, pairs))
        if context is not None:  # words go with the target's time, and have no place in it
            context, words = self._wide(context), context.shape[1]
            index = torch.cat((index, index[:, -1:].expand(-1, words)), dim=1)
            still = torch.tensor((1.0, 0.0), device=turns.device).expand(batch, words, pairs, 2)
            turns = torch.cat((turns, still), dim=1)
        hidden = self._wide(self.latent_embedding(latents) + self.target_group)[:, :, None]
        modulation = self.time(Times(values, index), conditions.add)
        return Tokens(hidden, modulation, turns, context, conditions.context_mask, reference, mask)

    def _wide(self, x: Tensor) -> Tensor:
        return widen(x, self.spec.precision)

    def unembed(self, tokens: Tokens, shape: tuple[int, ...]) -> Tensor:
        """The target's velocities [B, T, C]."""
        before = 0 if tokens.reference is None else tokens.reference.shape[1]
        target = attrs.evolve(
            tokens.modulation, index=tokens.modulation.index[:, before : before + shape[1]]
        )
        return self.head(tokens.hidden, target).squeeze(2)


class MMDiTBlock(nn.Module):
    """A layer: joint attention and feed-forward over [reference; target; words]. Text attention is
    part of the joint one.
    """

    def __init__(self, width: int, heads: int, feed: int) -> None:
        super().__init__()
        self.modulation = modulation_start(width)
        self.norm1, self.norm2 = plain_norm(width), plain_norm(width)
        self.attention = Heads(width, heads)
        self.ffn = mlp(width, feed, width)

    def _modulation(self, modulation: Modulation, part: int) -> tuple[Tensor, ...]:
        return modulation.at(
            modulation.six[:, :, 3 * part : 3 * part + 3] + self.modulation[3 * part : 3 * part + 3]
        )

    def apply_self_attention(self, tokens: Tokens) -> Tokens:
        """Joint self-attention; padding of the reference and of the words isn't seen."""
        shift, scale, gate = self._modulation(tokens.modulation, 0)
        sequence = _sequence(tokens)
        x = self.norm1(sequence) * (1 + scale) + shift
        q, (k, v) = self.attention.query(x), self.attention.keys(x)
        turn = tokens.rope[:, :, None]  # [B, N, 1, d/2, 2]
        out = attend(rotate(q, turn), rotate(k, turn), v, _mask(tokens))
        return _split(tokens, sequence + gate * self.attention.out(out))

    def apply_text_attention(self, tokens: Tokens, term: Term | None = None) -> Tokens:
        """Words were read in `apply_self_attention`; a `term` enters through the same query and
        output projections.
        """
        if term is None:
            return tokens
        q = self.attention.query(self.norm1(tokens.hidden))
        return replace(tokens, hidden=tokens.hidden + self.attention.out_again(term(q)))

    def apply_feed_forward(self, tokens: Tokens) -> Tokens:
        """Feed-forward."""
        shift, scale, gate = self._modulation(tokens.modulation, 1)
        sequence = _sequence(tokens)
        return _split(
            tokens, sequence + gate * self.ffn(self.norm2(sequence) * (1 + scale) + shift)
        )


def _groups(tokens: Tokens) -> list[Tensor]:
    return [
        x for x in (tokens.reference, tokens.hidden.squeeze(2), tokens.context) if x is not None
    ]


def _sequence(tokens: Tokens) -> Tensor:
    """[B, R + T + L, D]."""
    return torch.cat(_groups(tokens), dim=1)


def _split(tokens: Tokens, sequence: Tensor) -> Tokens:
    parts = list(sequence.split([group.shape[1] for group in _groups(tokens)], dim=1))
    reference = None if tokens.reference is None else parts.pop(0)
    hidden = parts.pop(0)[:, :, None]
    return replace(tokens, reference=reference, hidden=hidden, context=parts[0] if parts else None)


def _mask(tokens: Tokens) -> Tensor | None:
    """bool [B, R + T + L] of what counts, or `None` where all does."""
    if tokens.reference_mask is None and tokens.context_mask is None:
        return None
    masks = (tokens.reference_mask, None, tokens.context_mask)
    groups = (tokens.reference, tokens.hidden, tokens.context)
    whole = [
        x.new_ones(x.shape[:2], dtype=torch.bool) if mask is None else mask
        for x, mask in zip(groups, masks)
        if x is not None
    ]
    return torch.cat(whole, dim=1)
