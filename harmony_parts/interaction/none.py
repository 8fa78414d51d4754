"""No interaction between the branches: the baseline, and how each stream is trained by itself."""

from __future__ import annotations

from collections.abc import Collection

import attrs
from torch import nn

from harmony_parts.av import AV, STREAMS
from harmony_parts.branches.protocol import Branch, Tokens
from harmony_parts.interaction.protocol import Exchange, Layout
from harmony_parts.layers.sequence import VideoShare


@attrs.frozen
class NoInteraction:
    """Two branches without interaction; no settings."""

    def build(self, *, branches: AV[Branch]) -> NoExchange:
        """The module of one layer, without weights."""
        return NoExchange()


class NoExchange(nn.Module):
    """An interaction in which no stream receives anything."""

    def share_video(self, share: VideoShare) -> None:
        """It reads nothing."""

    def tables(self, layout: Layout) -> None:
        """It needs no tables."""

    def update_reference(self, video: Tokens, audio: Tokens) -> None:
        """It leaves the reference unchanged."""

    def forward(
        self, video: Tokens, audio: Tokens, tables: None, to: Collection[str] = STREAMS
    ) -> AV[Exchange]:
        """An empty exchange."""
        return AV()
