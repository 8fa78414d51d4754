"""Global style tokens: K learned queries pool the video, and the reference audio reads the results.

    s_k = sum_i softmax_i( q_k . y_i / sqrt(d) ) y_i        y = norm(z_v), in each head
    z_r <- z_r + CrossAttn(z_r W_q, s W_k, s W_v)

No weight multiplies the video's many tokens, so the cost is 4 K N D operations for N tokens of
width D: at the paper's size 1 in 180 of that of `alignment`. After the style tokens of
arXiv:1803.09017, which describe a voice as a few learned vectors.
"""

from __future__ import annotations

import attrs
import torch
from torch import Tensor, nn

from harmony_parts.av import AV
from harmony_parts.branches.protocol import Branch
from harmony_parts.layers.attention import attend
from harmony_parts.layers.linear import LayerNorm, Linear
from harmony_parts.layers.sequence import WHOLE, VideoShare, attend_to_all, check_divides
from harmony_parts.plugin import knob


@attrs.frozen
class StyleTokens:
    """Settings of the style tokens."""

    tokens: int = knob(
        16,
        help="learned style tokens in each layer",
        source="arXiv:1803.09017: 10",
        validator=attrs.validators.ge(2),
    )
    head_width: int = knob(
        16,
        help="width of each head that reads the tokens; as many heads as the audio branch has",
        unit="channels",
        validator=attrs.validators.ge(1),
    )

    def build(self, *, branches: AV[Branch]) -> PooledStyle:
        """The style path of one layer."""
        return PooledStyle(self, branches)


class PooledStyle(nn.Module):
    """Attention pooling over the video, and a narrow cross-attention whose output starts at 0."""

    def __init__(self, spec: StyleTokens, branches: AV[Branch]) -> None:
        super().__init__()
        audio, video = branches["audio"], branches["video"]
        self.video_heads, self.heads = video.heads, audio.heads
        inner = audio.heads * spec.head_width
        self.norm_reference, self.norm_video = (
            LayerNorm(audio.width, eps=1e-6),
            LayerNorm(video.width, eps=1e-6),
        )
        self.tokens = nn.Parameter(torch.randn(spec.tokens, video.width))  # scores of variance 1
        self.q, self.o = Linear(audio.width, inner), Linear(inner, audio.width)
        self.k, self.v = Linear(video.width, inner), Linear(video.width, inner)
        self.norm_q, self.norm_k = (nn.RMSNorm(inner, eps=1e-6) for _ in range(2))
        nn.init.zeros_(self.o.weight)
        nn.init.zeros_(self.o.bias)
        self.share = WHOLE

    def share_video(self, share: VideoShare) -> None:
        """The pooled tokens are those of all processes."""
        check_divides(self.video_heads, "heads of the video branch", share)
        self.share = share

    def forward(self, reference: Tensor, video: Tensor) -> Tensor:
        """[B, R, D_a] and [B, T, S, D_v] -> residual [B, R, D_a]."""
        styles = self._pooled(self.norm_video(video.flatten(1, 2)))
        q, k, v = (
            x.unflatten(-1, (self.heads, -1))
            for x in (
                self.norm_q(self.q(self.norm_reference(reference))),
                self.norm_k(self.k(styles)),
                self.v(styles),
            )
        )
        return self.o(attend(q, k, v).flatten(-2))

    def _pooled(self, video: Tensor) -> Tensor:
        """[B, N, D_v] -> what each style token finds [B, K, D_v]."""
        y = video.to(self.tokens.dtype).unflatten(-1, (self.video_heads, -1))
        tokens = self.tokens.unflatten(-1, (self.video_heads, -1)).expand(len(y), -1, -1, -1)

        def pool(q: Tensor, y: Tensor) -> Tensor:
            return attend(q, y, y)

        return attend_to_all(pool, tokens, y, dim=1, share=self.share).flatten(-2)
