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

    `hidden` [B, T, S, D]: a residual of its hidden states; `term`: a term for its text attention.
    """

    hidden: Tensor | None = None
    term: Term | None = None


class Interaction(Protocol):
    """A torch module, one per layer, which shares no weights with other layers.

    It acts twice: `update_reference` before the self-attention of the layer, a call after it. Both
    directions of the call read the states before either update. No argument is changed in place, no
    random numbers are drawn, samples are independent, and reference tokens that are masked out have
    no effect. All tensors that it computes with are parameters, buffers, or in its tables. It never
    reads a tensor's value on the host, so that it runs on the meta device, where costs are counted.
    """

    def tables(self, layout: Layout) -> Any:
        """What depends only on the shape (windows, angles), computed once for all layers."""

    def update_reference(self, video: Tokens, audio: Tokens) -> Tensor | None:
        """The residual [B, R, D_a] of the audio's reference, `None` if there is none.

        Both streams are as they enter the layer, whose joint attention reads the updated reference.
        """

    def __call__(
        self, video: Tokens, audio: Tokens, tables: Any, to: Collection[str] = STREAMS
    ) -> AV[Exchange]:
        """What each stream in `to` receives from the other; for other streams nothing is computed.

        A stream receives the same whether or not the other one is in `to`. Residuals are of a type
        no wider than the stream's.
        """


class InteractionSpec(Protocol):
    """Settings of an interaction."""

    def build(self, *, branches: AV[Branch]) -> Interaction:
        """The interaction of one layer, for the widths and heads of these branches."""
