"""Global style: how the reference sound of a clip takes on the look of the whole video, apart from
anything that has to do with time.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from harmony_parts.av import AV
from harmony_parts.branches.protocol import Branch


class Style(Protocol):
    """A torch module with weights of its own; of the rest as an `Interaction`: nothing changed,
    nothing drawn, no number asked of a tensor.
    """

    def __call__(self, reference: Tensor, video: Tensor) -> Tensor:
        """The residual of the reference tokens [B, R, D_a], given the video's hidden states [B, T,
        S, D_v], in whatever order its latents come.

        Each token's follows from that token and the video alone: some of the others are padding.
        """


class StyleSpec(Protocol):
    """Settings of a style part."""

    def build(self, *, branches: AV[Branch]) -> Style:
        """The style part of one layer between branches of those widths and heads."""
