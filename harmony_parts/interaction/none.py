"""No interaction: two branches that don't hear each other. The baseline, and how a stream is
trained alone.
"""

from __future__ import annotations

from collections.abc import Collection

import attrs
from torch import nn

from harmony_parts.av import AV, STREAMS
from harmony_parts.branches.protocol import Branch, Tokens
from harmony_parts.interaction.protocol import Exchange, Layout


@attrs.frozen
class NoInteraction:
    """No settings."""

    def build(self, *, branches: AV[Branch]) -> NoExchange:
        """The same for any branches."""
        return NoExchange()


class NoExchange(nn.Module):
    """Nothing is exchanged."""

    def tables(self, layout: Layout) -> None:
        """None are needed."""

    def forward(
        self, video: Tokens, audio: Tokens, tables: None, to: Collection[str] = STREAMS
    ) -> AV[Exchange]:
        """Nothing for either stream."""
        return AV()
