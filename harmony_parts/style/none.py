"""No style path: the reference audio is left unchanged."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor, nn

from harmony_parts.av import AV
from harmony_parts.branches.protocol import Branch
from harmony_parts.layers.sequence import VideoShare


@attrs.frozen
class NoStyle:
    """No style path; no settings."""

    def build(self, *, branches: AV[Branch]) -> NoAlignment:
        """The module of one layer, without weights."""
        return NoAlignment()


class NoAlignment(nn.Module):
    """A style part whose residual is zero."""

    def share_video(self, share: VideoShare) -> None:
        """It doesn't read the video."""

    def forward(self, reference: Tensor, video: Tensor) -> Tensor:
        """Zeros of the shape of `reference`."""
        return torch.zeros_like(reference)
