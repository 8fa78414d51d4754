"""Global style: how the reference audio takes on the video's look, independent of timing."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from harmony_parts.av import AV
from harmony_parts.branches.protocol import Branch


class Style(Protocol):
    """A torch module, one per layer, which shares no weights with other layers.

    As for an `Interaction`: no argument is changed in place, no random numbers are drawn, and no
    tensor's value is read on the host.
    """

    def __call__(self, reference: Tensor, video: Tensor) -> Tensor:
        """The residual of the reference tokens [B, R, D_a], given hidden states [B, T, S, D_v].

        The order of the video's latents doesn't matter. The residual of a token depends only on
        that token and the video, since other tokens may be padding.
        """


class StyleSpec(Protocol):
    """Settings of a style part."""

    def build(self, *, branches: AV[Branch]) -> Style:
        """The style part of one layer, for the widths and heads of these branches."""
