"""The joint block: one layer of each branch and the interaction between them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from harmony_parts.av import AV, STREAMS
from harmony_parts.branches.protocol import BranchBlock, Tokens
from harmony_parts.interaction.protocol import Exchange, Interaction


@dataclass(frozen=True, eq=False, slots=True)
class SourceTokens:
    """What the other stream reads of a stream in a layer.

    `attended`: its tokens after its self-attention; `entering`: those of a video as they enter the
    layer, if the audio has a reference to read them.
    """

    attended: Tokens
    entering: Tokens | None = None


class JointBlock(nn.Module):
    """Style, self-attention of both streams, interaction, text attention and feed-forward of both.

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
        cached: AV[SourceTokens] = AV(),
        to_cache: Collection[str] = (),
    ) -> tuple[AV[Tokens], AV[SourceTokens]]:
        """Tokens after this layer, and what was read of the streams in `to_cache`.

        `may_receive`: bool [B] per stream, whether the other stream may change the sample (one-way
        interaction protects clean streams); a stream without an entry may always receive. `isolate`
        skips the interaction. Streams that aren't in `outputs` stop after self-attention, since
        nothing reads their later states. `cached`: what the other stream reads of a stream that is
        only read, from an earlier step.
        """
        layers: AV[BranchBlock] = AV(self.video, self.audio)
        alone = isolate or len({*streams, *cached}) < 2
        interaction = None if alone else self.interaction
        entering = None if interaction is None else _read_by_style(streams, cached)
        if interaction is not None and entering is not None:
            streams = streams.replace(
                audio=_with_style(entering, streams["audio"], interaction, may_receive.audio)
            )
        attended = streams.map(lambda tokens, layer: layer.apply_self_attention(tokens), layers)
        receivers = attended.only(outputs)
        exchange: AV[Exchange] = AV()
        if interaction is not None:
            sources = attended.replace(**{s: cached[s].attended for s in cached})
            exchange = interaction(sources["video"], sources["audio"], tables, to=tuple(receivers))
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
        return done, attended.only(to_cache).map(
            lambda tokens, stream: SourceTokens(tokens, entering if stream == "video" else None),
            AV(*STREAMS),
        )


def _read_by_style(streams: AV[Tokens], cached: AV[SourceTokens]) -> Tokens | None:
    """The video as it enters the layer, if the audio has a reference to read it."""
    if streams.audio is None or streams.audio.reference is None:
        return None
    return streams.video if cached.video is None else cached.video.entering


def _with_style(
    video: Tokens, audio: Tokens, interaction: Interaction, may_receive: Tensor | None
) -> Tokens:
    """The audio with its reference updated, which its self-attention then reads."""
    residual = interaction.update_reference(video, audio)
    if residual is None or audio.reference is None:
        return audio
    return replace(audio, reference=audio.reference + _allowed(residual, may_receive))


def _finish(
    tokens: Tokens, layer: BranchBlock, exchange: Exchange, may_receive: Tensor | None
) -> Tokens:
    """Add what the stream receives, then apply text attention and feed-forward."""
    if exchange.hidden is not None:
        hidden = tokens.hidden + _allowed(exchange.hidden, may_receive)
        tokens = replace(tokens, hidden=hidden)
    term = exchange.term
    allowed_term = None if term is None else lambda q: _allowed(term(q), may_receive)
    return layer.apply_feed_forward(layer.apply_text_attention(tokens, allowed_term))


def _allowed(update: Tensor, may_receive: Tensor | None) -> Tensor:
    """The update of samples that may receive one, zero for the others."""
    if may_receive is None:
        return update
    mask = may_receive.view(-1, *(1,) * (update.ndim - 1))
    return torch.where(mask, update, torch.zeros_like(update))
