"""The joint block: one layer of both branches and the interaction between them. The unit of
sharding, compiling and recomputing.
"""

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
    """attend both -> interact -> read and feed both. It owns the weights of its two branch layers
    and of its interaction; a model of one stream has but one layer here, and no interaction."""

    def __init__(self, layers: AV[BranchBlock], interaction: Interaction | None) -> None:
        super().__init__()
        self.video, self.audio, self.interaction = layers.video, layers.audio, interaction

    def forward(
        self,
        streams: AV[Tokens],
        tables: Any,
        hears: AV[Tensor],
        isolate: bool = False,
        finish: Collection[str] = STREAMS,
        still: AV[Tokens] = AV(),
        keep: Collection[str] = (),
    ) -> tuple[AV[Tokens], AV[Tokens]]:
        """Tokens of the streams that are present to tokens after this layer, and, of those in
        `keep`, to what the other stream hears.

        `hears` bool [B] per stream: whether the sample's stream may be changed by the other
        (one-way interaction cuts the clean one off); `isolate` leaves the interaction out; streams
        that aren't in `finish` stop after their attention: nobody reads them. `still` are streams
        that are heard alone, as this layer kept them before: their tokens after its attention.
        """
        layers: AV[BranchBlock] = AV(self.video, self.audio)
        attended = streams.map(lambda tokens, layer: layer.apply_self_attention(tokens), layers)
        heard = attended.replace(**{s: still[s] for s in still})
        received = attended.only(finish)
        exchange: AV[Exchange] = AV()
        if self.interaction is not None and len(tuple(heard)) == 2 and not isolate:
            exchange = self.interaction(heard["video"], heard["audio"], tables, to=tuple(received))
        done = received.map(
            lambda tokens, layer, s: _finish(
                tokens, layer, getattr(exchange, s) or Exchange(), getattr(hears, s)
            ),
            layers,
            AV(*STREAMS),
        )
        return done, attended.only(keep)


def _finish(tokens: Tokens, layer: BranchBlock, exchange: Exchange, hears: Tensor | None) -> Tokens:
    """Add what was received, where the sample hears it, then the layer's text attention and
    feed-forward.
    """

    def heard(update: Tensor) -> Tensor:
        if hears is None:
            return update
        return torch.where(
            hears.view(-1, *(1,) * (update.ndim - 1)), update, torch.zeros_like(update)
        )

    if exchange.hidden is not None:
        tokens = replace(tokens, hidden=tokens.hidden + heard(exchange.hidden))
    if exchange.reference is not None and tokens.reference is not None:
        tokens = replace(tokens, reference=tokens.reference + heard(exchange.reference))
    term = exchange.term
    return layer.apply_feed_forward(
        layer.apply_text_attention(tokens, None if term is None else lambda q: heard(term(q)))
    )
