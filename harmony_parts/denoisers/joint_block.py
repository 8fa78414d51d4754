"""The joint block: one layer of each branch and the interaction between them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from harmony_parts.av import AV, STREAMS
from harmony_parts.branches.protocol import BranchBlock, Tokens
from harmony_parts.interaction.protocol import Exchange, Interaction


class JointBlock(nn.Module):
    """Self-attention of both streams, interaction, text attention and feed-forward of both.

    It is the unit of sharding, compiling and recomputing, and owns the weights of its branch layers
    and of its interaction. In a model of one stream it has one layer and no interaction.
    """

    def __init__(self, layers: AV[BranchBlock], interaction: Interaction | None) -> None:
        super().__init__()
        self.video, self.audio, self.interaction = layers.video, layers.audio, interaction

    def forward(
        self,
        streams: AV[Tokens],
        tables: Any,
        may_receive: AV[Tensor],
        isolate: bool = False,
        outputs: Collection[str] = STREAMS,
        cached: AV[Tokens] = AV(),
        to_cache: Collection[str] = (),
    ) -> tuple[AV[Tokens], AV[Tokens]]:
        """Tokens after this layer, and those after its self-attention of the streams in `to_cache`.

        `may_receive`: bool [B] per stream, whether the other stream may change the sample (one-way
        interaction protects clean streams); a stream without an entry may always receive. `isolate`
        skips the interaction. Streams that aren't in `outputs` stop after self-attention, since
        nothing reads their later states. `cached`: tokens after self-attention of a stream that is
        only read by the other one, from an earlier step.
        """
        layers: AV[BranchBlock] = AV(self.video, self.audio)
        attended = streams.map(lambda tokens, layer: layer.apply_self_attention(tokens), layers)
        sources = attended.replace(**{stream: cached[stream] for stream in cached})
        receivers = attended.only(outputs)
        exchange: AV[Exchange] = AV()
        if self.interaction is not None and len(tuple(sources)) == 2 and not isolate:
            exchange = self.interaction(
                sources["video"], sources["audio"], tables, to=tuple(receivers)
            )
        done = receivers.map(
            lambda tokens, layer, stream: _finish(
                tokens,
                layer,
                getattr(exchange, stream) or Exchange(),
                getattr(may_receive, stream),
            ),
            layers,
            AV(*STREAMS),
        )
        return done, attended.only(to_cache)


def _finish(
    tokens: Tokens, layer: BranchBlock, exchange: Exchange, may_receive: Tensor | None
) -> Tokens:
    """Add what the stream receives, then apply text attention and feed-forward."""

    def allowed(update: Tensor) -> Tensor:
        if may_receive is None:
            return update
        mask = may_receive.view(-1, *(1,) * (update.ndim - 1))
        return torch.where(mask, update, torch.zeros_like(update))

    if exchange.hidden is not None:
        tokens = replace(tokens, hidden=tokens.hidden + allowed(exchange.hidden))
    if exchange.reference is not None and tokens.reference is not None:
        tokens = replace(tokens, reference=tokens.reference + allowed(exchange.reference))
    term = exchange.term
    allowed_term = None if term is None else lambda q: allowed(term(q))
    return layer.apply_feed_forward(layer.apply_text_attention(tokens, allowed_term))
