"""Harmony's audio branch: an MM-DiT over [reference; target; speech; prompt] (section 3.1).

Reference and target are latents of the same codec. Context (speech and prompt) is part of the
sequence and is updated with it. Group embeddings tell the groups apart. One set of weights serves
all groups, or one the latents and another one the context, as in SD3 (arXiv:2403.03206); the paper
doesn't say which. RoPE positions of the target start at 0, those of the reference end at -1, and
context tokens aren't rotated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, get_args

import attrs
import torch
from torch import Tensor, nn

from harmony_parts.av import Conditions, Times
from harmony_parts.branches.conditioning import BranchConditions, ConditionProjector
from harmony_parts.branches.protocol import How, Term, Tokens
from harmony_parts.branches.settings import check_heads, precision_knob
from harmony_parts.layers.attention import Heads, attend, modulation_start
from harmony_parts.layers.linear import Linear, Precision, mlp, plain_norm, widen
from harmony_parts.layers.modulation import Head, Modulation, TimeEmbedding
from harmony_parts.layers.rope import angles, rotate, table
from harmony_parts.plugin import knob

Weights = Literal["shared", "separate"]
Padding = Literal["masked", "attended"]


@attrs.frozen
class MMDiT:
    """Settings of the audio branch."""

    width: int = knob(
        3072,
        help="width of the hidden states",
        unit="channels",
        source="paper: as the video branch",
        validator=attrs.validators.ge(2),
    )
    heads: int = knob(
        24,
        help="attention heads; the width of one must be even",
        source="paper: as the video branch",
        validator=attrs.validators.ge(1),
    )
    feed: int = knob(
        14336,
        help="width inside the feed-forward",
        unit="channels",
        source="paper: as the video branch",
        validator=attrs.validators.ge(1),
    )
    weights: Weights = knob(
        "shared",
        help=(
            "`shared`: one set of a layer's weights for latents and context; `separate`: a set for"
            " each, which meet in the attention. In the last layer the context's output isn't read"
        ),
        source="paper leaves it open; SD3: separate",
        validator=attrs.validators.in_(get_args(Weights)),
    )
    padding: Padding = knob(
        "masked",
        help=(
            "context tokens of zeros, with which Wan's text encoder fills a text up to its length:"
            " `masked`: nothing attends to them; `attended`: they count, as in Wan and Ovi"
        ),
        source="paper leaves it open",
        validator=attrs.validators.in_(get_args(Padding)),
    )
    precision: Precision = precision_knob("as the video branch")

    def __attrs_post_init__(self) -> None:
        check_heads(self.width, self.heads)

    def build(
        self, *, channels: int, grid: tuple[int, ...], conditions: Mapping[str, tuple[How, int]]
    ) -> MMDiTBranch:
        """A branch for latents with these channels."""
        return MMDiTBranch(self, channels, conditions)


class MMDiTBranch(nn.Module):
    """Latents [B, T, C] to tokens [B, T, 1, D] and back."""

    def __init__(
        self, spec: MMDiT, channels: int, conditions: Mapping[str, tuple[How, int]]
    ) -> None:
        super().__init__()
        self.spec, self.width, self.heads = spec, spec.width, spec.heads
        self.listener = ConditionProjector(
            spec.width, conditions, mask_zeros=spec.padding == "masked"
        )
        self.time = TimeEmbedding(spec.width, spec.precision)
        self.latent_embedding = Linear(channels, spec.width)
        self.reference_group, self.target_group = (
            nn.Parameter(torch.randn(spec.width) * 0.02) for _ in range(2)
        )
        self.head = Head(spec.width, channels)

    def block(self) -> MMDiTBlock:
        """A new layer with new weights."""
        return MMDiTBlock(
            self.width, self.heads, self.spec.feed, separate=self.spec.weights == "separate"
        )

    def grid(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """(1, 1): one token per latent."""
        return 1, 1

    def project_conditions(self, conditions: Conditions) -> BranchConditions:
        """The conditions at the branch's width."""
        return self.listener(conditions)

    def embed(self, latents: Tensor, times: Times, conditions: BranchConditions) -> Tokens:
        """The target's tokens, beside those of the reference and the context."""
        (batch, length), pairs = latents.shape[:2], self.width // self.heads // 2
        positions = torch.arange(length, dtype=torch.float64, device=latents.device)
        positions, reference, mask = positions.expand(batch, -1), None, None
        if conditions.reference is not None:
            mask = conditions.reference.mask
            reference = self._wide(
                self.latent_embedding(conditions.reference.tokens) + self.reference_group
            )
            times = _clean_before(times, mask)
            positions = torch.cat((_positions_before(mask), positions), dim=1)
        rope, context = table(angles(positions, pairs)), conditions.context
        if context is not None:
            context = self._wide(context)
            times = _repeat_last(times, context.shape[1])
            rope = torch.cat((rope, _identity(rope, context.shape[1])), dim=1)
        hidden = self._wide(self.latent_embedding(latents) + self.target_group)[:, :, None]
        modulation = self.time(times, conditions.add)
        return Tokens(hidden, modulation, rope, context, conditions.context_mask, reference, mask)

    def _wide(self, x: Tensor) -> Tensor:
        return widen(x, self.spec.precision)

    def unembed(self, tokens: Tokens, shape: tuple[int, ...]) -> Tensor:
        """The target's velocities [B, T, C]."""
        before = 0 if tokens.reference is None else tokens.reference.shape[1]
        target = attrs.evolve(
            tokens.modulation, index=tokens.modulation.index[:, before : before + shape[1]]
        )
        return self.head(tokens.hidden, target).squeeze(2)


def _clean_before(times: Times, mask: Tensor) -> Times:
    """Times with the reference's [B, R] put before them, at time 0."""
    values = torch.cat((times.values, torch.zeros_like(times.values[:, :1])), dim=1)
    clean = torch.full_like(mask, values.shape[1] - 1, dtype=torch.long)
    return Times(values, torch.cat((clean, times.index), dim=1))


def _positions_before(mask: Tensor) -> Tensor:
    """float64 [B, R]: the last reference token that counts is at -1, whatever padding follows."""
    at = torch.arange(mask.shape[1], device=mask.device) - mask.sum(1, keepdim=True)
    return at.double()


def _repeat_last(times: Times, tokens: int) -> Times:
    """Times with as many more `tokens` after them, at the time of the last latent."""
    last = times.index[:, -1:].expand(-1, tokens)
    return Times(times.values, torch.cat((times.index, last), dim=1))


def _identity(rope: Tensor, tokens: int) -> Tensor:
    """The table [B, tokens, pairs, 2] of the identity rotation: context has no position in time."""
    unit = torch.stack((rope.new_ones(()), rope.new_zeros(())))  # made there: no copy to wait for
    return unit.expand(len(rope), tokens, rope.shape[2], 2)


class LayerWeights(nn.Module):
    """One set of a layer's weights: modulation, projections of the attention, and feed-forward."""

    def __init__(self, width: int, heads: int, feed: int) -> None:
        super().__init__()
        self.modulation = modulation_start(width)
        self.norm1, self.norm2 = plain_norm(width), plain_norm(width)
        self.attention = Heads(width, heads)
        self.ffn = mlp(width, feed, width)

    def modulate(self, modulation: Modulation, part: int) -> tuple[Tensor, ...]:
        """Shift, scale and gate of the attention (part 0) or the feed-forward (part 1)."""
        rows = slice(3 * part, 3 * part + 3)
        return modulation.at(modulation.six[:, :, rows] + self.modulation[rows])

    def attention_inputs(self, x: Tensor, modulation: Modulation) -> tuple[Tensor, ...]:
        """Queries, keys and values [B, N, h, d] of tokens [B, N, D], and the gate of the result."""
        shift, scale, gate = self.modulate(modulation, 0)
        y = self.norm1(x) * (1 + scale) + shift
        return self.attention.query(y), *self.attention.keys(y), gate

    def fed(self, x: Tensor, modulation: Modulation) -> Tensor:
        """Tokens with the feed-forward's result added."""
        shift, scale, gate = self.modulate(modulation, 1)
        return x + gate * self.ffn(self.norm2(x) * (1 + scale) + shift)


class MMDiTBlock(LayerWeights):
    """A layer: joint attention and feed-forward over [reference; target; context].

    `words` has the weights of the context, if it doesn't share those of the latents.
    """

    def __init__(self, width: int, heads: int, feed: int, separate: bool = False) -> None:
        super().__init__(width, heads, feed)
        self.words = LayerWeights(width, heads, feed) if separate else None

    def apply_self_attention(self, tokens: Tokens) -> Tokens:
        """Joint self-attention; padding of the reference and of the context is masked out."""
        parts = self._parts(tokens)
        *qkv, gates = zip(*(weights.attention_inputs(x, at) for weights, x, at in parts))
        q, k, v = map(_joined, qkv)
        turn = tokens.rope[:, :, None]  # [B, N, 1, d/2, 2]
        out = attend(rotate(q, turn), rotate(k, turn), v, _mask(tokens))
        outs = out.split([x.shape[1] for _, x, _ in parts], dim=1)
        new = [
            x + gate * weights.attention.out(result)
            for (weights, x, _), gate, result in zip(parts, gates, outs)
        ]
        return _split(tokens, new)

    def apply_text_attention(self, tokens: Tokens, term: Term | None = None) -> Tokens:
        """Only adds `term`, by the query and output projections of the joint attention.

        The context has been attended to in `apply_self_attention`.
        """
        if term is None:
            return tokens
        q = self.attention.query(self.norm1(tokens.hidden))
        return replace(tokens, hidden=tokens.hidden + self.attention.out_without_bias(term(q)))

    def apply_feed_forward(self, tokens: Tokens) -> Tokens:
        """Feed-forward of all groups."""
        return _split(tokens, [weights.fed(x, at) for weights, x, at in self._parts(tokens)])

    def _parts(self, tokens: Tokens) -> list[tuple[LayerWeights, Tensor, Modulation]]:
        """The sequence [reference; target; context] in the parts that share a set of weights."""
        if self.words is None or tokens.context is None:
            return [(self, _joined(_groups(tokens)), tokens.modulation)]
        latents = _joined(_groups(replace(tokens, context=None)))
        index, count = tokens.modulation.index, latents.shape[1]
        before, after = (
            attrs.evolve(tokens.modulation, index=part)
            for part in (index[:, :count], index[:, count:])
        )
        return [(self, latents, before), (self.words, tokens.context, after)]


def _groups(tokens: Tokens) -> list[Tensor]:
    return [
        x for x in (tokens.reference, tokens.hidden.squeeze(2), tokens.context) if x is not None
    ]


def _joined(parts: Sequence[Tensor]) -> Tensor:
    """Parts [B, N, ...] as one sequence; a single part is itself, without a copy."""
    return parts[0] if len(parts) == 1 else torch.cat(tuple(parts), dim=1)


def _split(tokens: Tokens, parts: Sequence[Tensor]) -> Tokens:
    """Tokens with the groups of a new sequence, which comes in parts."""
    sequence = _joined(parts)
    groups = list(sequence.split([group.shape[1] for group in _groups(tokens)], dim=1))
    reference = None if tokens.reference is None else groups.pop(0)
    hidden = groups.pop(0)[:, :, None]
    context = groups[0] if groups else None
    return replace(tokens, reference=reference, hidden=hidden, context=context)


def _mask(tokens: Tokens) -> Tensor | None:
    """bool [B, R + T + L] of the tokens that count, or `None` if all do."""
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
