"""Global style: how the reference sound of a clip takes on the look of the whole video, apart from anything that has to do with time."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from harmony_parts.av import AV
from harmony_parts.blocks.protocol import Branch


class Style(Protocol):
    """A torch module."""

    def __call__(self, reference: Tensor, video: Tensor) -> Tensor:
        """The residual of the reference tokens [B, R, D_a], given the video's hidden states [B, T, S, D_v]."""


class StyleSpec(Protocol):
    """Settings of a style part."""

    def build(self, *, branches: AV[Branch]) -> Style:
        """The style part of one layer between branches of those widths and heads."""
