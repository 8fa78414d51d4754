"""The joint block: one layer of each branch and the interaction between them."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractContextManager, nullcontext
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
        frozen: Collection[str] | None = None,
    ) -> tuple[AV[Tokens], AV[SourceTokens]]:
        """Tokens after this layer, and what was read of the streams in `to_cache`.

        `may_receive`: bool [B] per stream, whether the other stream may change the sample (one-way
        interaction protects clean streams); a stream without an entry may always receive. `isolate`
        skips the interaction. Streams that aren't in `outputs` stop after self-attention, since
        nothing reads their later states. `cached`: what the other stream reads of a stream that is
        only read, from an earlier step. With `frozen`, no gradient passes from one stream into
        samples of the other that may not receive; the streams in it, all of whose samples may not,
        are computed without gradients.
        """
        layers: AV[BranchBlock] = AV(self.video, self.audio)
        names = AV(*STREAMS)
        detach, frozen = frozen is not None, frozen or ()
        alone = isolate or len({*streams, *cached}) < 2
        interaction = None if alone else self.interaction
        entering = None if interaction is None else _read_by_style(streams, cached)
        if interaction is not None and entering is not None and "audio" not in frozen:
            read = _detached(entering, may_receive.video) if detach else entering
            streams = streams.replace(
                audio=_with_style(read, streams["audio"], interaction, may_receive.audio)
            )

        def attend(tokens: Tokens, layer: BranchBlock, stream: str) -> Tokens:
            with _gradients(stream not in frozen):
                return layer.apply_self_attention(tokens)

        attended = streams.map(attend, layers, names)
        receivers = attended.only(outputs)
        exchange: AV[Exchange] = AV()
        if interaction is not None:
            sources = attended.replace(**{s: cached[s].attended for s in cached})
            if detach:
                sources = sources.map(
                    lambda tokens, stream: _detached(tokens, getattr(may_receive, stream)), names
                )
            to = tuple(stream for stream in receivers if stream not in frozen)
            exchange = interaction(sources["video"], sources["audio"], tables, to=to)

        def finish(tokens: Tokens, layer: BranchBlock, stream: str) -> Tokens:
            received = getattr(exchange, stream) or Exchange()
            with _gradients(stream not in frozen):
                return _finish(tokens, layer, received, getattr(may_receive, stream))

        return receivers.map(finish, layers, names), attended.only(to_cache).map(
            lambda tokens, stream: SourceTokens(tokens, entering if stream == "video" else None),
            names,
        )


def _gradients(wanted: bool) -> AbstractContextManager[object]:
    return nullcontext() if wanted else torch.no_grad()


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


def _detached(tokens: Tokens, may_receive: Tensor | None) -> Tokens:
    """The tokens as the other stream reads them: of samples that receive nothing, constants."""
    if may_receive is None:
        return tokens

    def constant(x: Tensor) -> Tensor:
        return torch.where(may_receive.view(-1, *(1,) * (x.ndim - 1)), x, x.detach())

    context, reference = (
        None if x is None else constant(x) for x in (tokens.context, tokens.reference)
    )
    return replace(tokens, hidden=constant(tokens.hidden), context=context, reference=reference)


def _allowed(update: Tensor, may_receive: Tensor | None) -> Tensor:
    """The update of samples that may receive one, zero for the others."""
    if may_receive is None:
        return update
    mask = may_receive.view(-1, *(1,) * (update.ndim - 1))
    return torch.where(mask, update, torch.zeros_like(update))
