"""Global-local decoupled interaction (GLDI; paper, section 3.2).

Timing passes by local attention in both directions; style only by the reference audio.
"""

from __future__ import annotations

from collections.abc import Collection

import attrs
import torch
from torch import Tensor, nn

from harmony_parts.attention.protocol import LocalAttention, Windows
from harmony_parts.attention.windows import windows
from harmony_parts.av import AV, STREAMS
from harmony_parts.branches.protocol import Branch, Tokens
from harmony_parts.interaction.positions import RopeMap, constant_knob, map_knob, positions
from harmony_parts.interaction.protocol import Exchange, Layout
from harmony_parts.layers.linear import LayerNorm, Linear
from harmony_parts.layers.rope import angles
from harmony_parts.layers.sequence import (
    WHOLE,
    SharesVideo,
    VideoShare,
    attend_to_all,
    check_divides,
)
from harmony_parts.plugin import default_part, knob
from harmony_parts.style.protocol import StyleSpec


@attrs.frozen
class GLDI:
    """Settings of the interaction."""

    audio_window: float = knob(
        0.17,
        help="how far beyond its own time interval a video latent attends to audio",
        unit="seconds",
        source="paper leaves it open",
        validator=attrs.validators.ge(0),
    )
    video_window: float = knob(
        0.17,
        help="how far beyond its own time interval an audio latent attends to video",
        unit="seconds",
        source="paper leaves it open",
        validator=attrs.validators.ge(0),
    )
    rope_map: RopeMap = map_knob("paper, section 3.2")
    constant: float = constant_knob()
    width: int | None = knob(
        None,
        help="inner width; if not set, that of the branch that receives",
        unit="channels",
    )
    attention: LocalAttention = knob(
        default_part("harmony_parts.attention.eager:Eager"), help="the local attention backend"
    )
    style: StyleSpec = knob(
        default_part("harmony_parts.style.alignment:StyleAlignment"),
        help="how the reference audio takes on the video's style",
    )

    def build(self, *, branches: AV[Branch]) -> GlobalLocal:
        """The interaction of one layer."""
        return GlobalLocal(self, branches)


@attrs.frozen(eq=False)
class Direction:
    """Tables of one direction: windows, and angles of queries and keys."""

    windows: Windows
    q_angles: Tensor
    k_angles: Tensor


class GlobalLocal(nn.Module):
    """dz_v = local(z_v, z_a), dz_a = local(z_a, z_v), and before them dz_r = style(z_r, z_v).

    The first argument gives the queries, the second the keys and values. All residuals start at
    zero.
    """

    def __init__(self, spec: GLDI, branches: AV[Branch]) -> None:
        super().__init__()
        self.spec = spec
        video, audio = branches["video"], branches["audio"]
        self.to_video = LocalCross(video, audio, spec.width, spec.attention)
        self.to_audio = LocalCross(audio, video, spec.width, spec.attention)
        self.style = spec.style.build(branches=branches)

    def share_video(self, share: VideoShare) -> None:
        """Only what reads the video needs the tokens of other processes."""
        if not isinstance(self.style, SharesVideo):
            raise ValueError(f"the style part {type(self.style).__name__} reads the whole video")
        self.style.share_video(share)
        self.to_audio.share_source(share)

    def tables(self, layout: Layout) -> AV[Direction]:
        """Windows and angles of both directions, by the stream that receives."""
        spec, clock, device = self.spec, layout.clocks, layout.device
        return AV(
            video=self._direction(
                clock["video"],
                clock["audio"],
                spec.audio_window,
                spec.constant,
                self.to_video.pairs,
                device,
            ),
            audio=self._direction(
                clock["audio"],
                clock["video"],
                spec.video_window,
                1 / spec.constant,
                self.to_audio.pairs,
                device,
            ),
        )

    def _direction(
        self,
        queries: Tensor,
        keys: Tensor,
        reach: float,
        constant: float,
        pairs: int,
        device: torch.device,
    ) -> Direction:
        at_queries, at_keys = positions(queries, keys, self.spec.rope_map, constant)
        return Direction(
            windows(queries, keys, reach).to(device),
            angles(at_queries, pairs).to(device),
            angles(at_keys, pairs).to(device),
        )

    def update_reference(self, video: Tokens, audio: Tokens) -> Tensor | None:
        """The style residual of the reference; style changes nothing else."""
        if audio.reference is None:
            return None
        residual: Tensor = self.style(audio.reference, video.hidden)
        return residual

    def forward(
        self, video: Tokens, audio: Tokens, tables: AV[Direction], to: Collection[str] = STREAMS
    ) -> AV[Exchange]:
        """Residuals of both streams, from their states before either update."""
        dz_v = self.to_video(video.hidden, audio.hidden, tables["video"]) if "video" in to else None
        dz_a = self.to_audio(audio.hidden, video.hidden, tables["audio"]) if "audio" in to else None
        return AV(video=Exchange(hidden=dz_v), audio=Exchange(hidden=dz_a))


class LocalCross(nn.Module):
    """One direction of local cross-attention, with an output projection that starts at zero.

    Both streams are layer-normed, queries and keys RMS-normed per head.
    """

    def __init__(
        self, reader: Branch, source: Branch, width: int | None, attention: LocalAttention
    ) -> None:
        super().__init__()
        inner, self.heads, self.attention = width or reader.width, reader.heads, attention
        if inner % (2 * self.heads):
            raise ValueError(
                f"an interaction of width {inner} can't be split into {self.heads} heads (those of"
                " the receiving branch) of an even width"
            )
        head = inner // self.heads
        self.pairs = head // 2
        self.norm_reader, self.norm_source = (
            LayerNorm(reader.width, eps=1e-6),
            LayerNorm(source.width, eps=1e-6),
        )
        self.q, self.k, self.v = (
            Linear(reader.width, inner),
            Linear(source.width, inner),
            Linear(source.width, inner),
        )
        self.norm_q, self.norm_k = nn.RMSNorm(head, eps=1e-6), nn.RMSNorm(head, eps=1e-6)
        self.o = Linear(inner, reader.width)
        nn.init.zeros_(self.o.weight)
        nn.init.zeros_(self.o.bias)
        self.share = WHOLE

    def share_source(self, share: VideoShare) -> None:
        """The source is divided between processes, and every one has the whole reader."""
        check_divides(self.heads, "heads of the interaction", share)
        self.share = share

    def forward(self, reader: Tensor, source: Tensor, direction: Direction) -> Tensor:
        """[B, Tq, Sq, D] and [B, Tk, Sk, E] -> residual [B, Tq, Sq, D]."""
        y = self.norm_source(source)
        q, k, v = (
            x.unflatten(-1, (self.heads, -1))
            for x in (self.q(self.norm_reader(reader)), self.k(y), self.v(y))
        )

        def local(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            angles = direction.q_angles, direction.k_angles
            return self.attention(q, k, v, direction.windows, *angles)

        q, k = self.norm_q(q), self.norm_k(k)
        out = attend_to_all(local, q, k, v, dim=2, share=self.share)
        return self.o(out.flatten(-2))
