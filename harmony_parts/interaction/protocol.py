"""How the branches hear each other in a layer: an update of the hidden states, or a term inside the
text attention.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Protocol

import attrs
import torch
from torch import Tensor

from harmony_parts.av import AV, STREAMS
from harmony_parts.branches.protocol import Branch, Term, Tokens


@attrs.frozen(eq=False)
class Layout:
    """The shape of a batch: per stream, the `clocks` (start, end) in seconds [T, 2] (float64, on
    the CPU) of its latents and the `grid` (rows, columns) of the tokens of one; and the `device`
    where tables are wanted."""

    clocks: AV[Tensor]
    grid: AV[tuple[int, int]]
    device: torch.device


@dataclass(frozen=True, eq=False, slots=True)
class Exchange:
    """What one stream receives: residuals of its hidden states [B, T, S, D] and of its reference
    [B, R, D], or a term for its text attention.
    """

    hidden: Tensor | None = None
    reference: Tensor | None = None
    term: Term | None = None


class Interaction(Protocol):
    """A torch module, one per layer, with weights of its own. Both directions read the states from
    before either update.

    It changes nothing that it is given, draws no random numbers, and hears each sample by itself,
    and no token of a reference that its mask leaves out. What it computes with is a parameter, a
    buffer, or in its tables; and no number is asked of a tensor, so that it runs on the meta
    device, where costs are counted.
    """

    def tables(self, layout: Layout) -> Any:
        """What depends on the shape alone (windows, angles); computed once per shape and handed to
        every layer.
        """

    def __call__(
        self, video: Tokens, audio: Tokens, tables: Any, to: Collection[str] = STREAMS
    ) -> AV[Exchange]:
        """What each stream of `to` receives from the other; what nobody receives isn't computed.

        A stream receives the same whether the other one does or not, of a type no wider than its
        own, and a residual of its reference only where it has one.
        """


class InteractionSpec(Protocol):
    """Settings of an interaction."""

    def build(self, *, branches: AV[Branch]) -> Interaction:
        """The interaction of one layer between branches of those widths and heads."""
