"""Global style alignment: z_r <- z_r + CrossAttn(z_r W_q, z_v W_k, z_v W_v) (paper, section 3.2).

Every reference token attends to the whole video.
"""

from __future__ import annotations

import attrs
from torch import Tensor, nn

from harmony_parts.av import AV
from harmony_parts.branches.protocol import Branch
from harmony_parts.layers.attention import Heads, attend
from harmony_parts.layers.linear import LayerNorm
from harmony_parts.layers.sequence import WHOLE, VideoShare, attend_to_all, check_divides


@attrs.frozen
class StyleAlignment:
    """Style alignment with the audio branch's number of heads; no settings."""

    def build(self, *, branches: AV[Branch]) -> Alignment:
        """The style path of one layer."""
        return Alignment(branches)


class Alignment(nn.Module):
    """Cross-attention from the reference audio to the video; its output starts at zero."""

    def __init__(self, branches: AV[Branch]) -> None:
        super().__init__()
        audio, video = branches["audio"], branches["video"]
        self.norm_reference, self.norm_video = (
            LayerNorm(audio.width, eps=1e-6),
            LayerNorm(video.width, eps=1e-6),
        )
        self.heads = Heads(audio.width, audio.heads, source=video.width)
        nn.init.zeros_(self.heads.o.weight)
        nn.init.zeros_(self.heads.o.bias)
        self.share = WHOLE

    def share_video(self, share: VideoShare) -> None:
        """Keys and values are those of all processes."""
        check_divides(self.heads.heads, "heads of the style alignment", share)
        self.share = share

    def forward(self, reference: Tensor, video: Tensor) -> Tensor:
        """[B, R, D_a] and [B, T, S, D_v] -> residual [B, R, D_a]."""
        k, v = self.heads.keys(self.norm_video(video.flatten(1, 2)))
        q = self.heads.query(self.norm_reference(reference))
        return self.heads.out(attend_to_all(attend, q, k, v, dim=1, share=self.share))
