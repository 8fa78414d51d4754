"""How branches exchange information in a layer: by residuals, or a term in the text attention."""

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
    """The shape of a batch, for which an interaction makes its tables.

    Per stream: `clocks` [T, 2], start and end of its latents in seconds (float64, on the CPU), and
    `grid`, rows and columns of a latent's tokens. `device`: where the tables must be.
    """

    clocks: AV[Tensor]
    grid: AV[tuple[int, int]]
    device: torch.device


@dataclass(frozen=True, eq=False, slots=True)
class Exchange:
    """What one stream receives.

    `hidden` [B, T, S, D] and `reference` [B, R, D]: residuals of its hidden states and of its
    reference; `term`: a term for its text attention.
    """

    hidden: Tensor | None = None
    reference: Tensor | None = None
    term: Term | None = None


class Interaction(Protocol):
    """A torch module, one per layer, which shares no weights with other layers.

    Both directions read the states before either update. No argument is changed in place, no random
    numbers are drawn, samples are independent, and reference tokens that are masked out have no
    effect. All tensors that it computes with are parameters, buffers, or in its tables. It never
    reads a tensor's value on the host, so that it runs on the meta device, where costs are counted.
    """

    def tables(self, layout: Layout) -> Any:
        """What depends only on the shape (windows, angles), computed once for all layers."""

    def __call__(
        self, video: Tokens, audio: Tokens, tables: Any, to: Collection[str] = STREAMS
    ) -> AV[Exchange]:
        """What each stream in `to` receives from the other; for other streams nothing is computed.

        A stream receives the same whether or not the other one is in `to`. Residuals are of a type
        no wider than the stream's, and one of the reference only if there is a reference.
        """


class InteractionSpec(Protocol):
    """Settings of an interaction."""

    def build(self, *, branches: AV[Branch]) -> Interaction:
        """The interaction of one layer, for the widths and heads of these branches."""
