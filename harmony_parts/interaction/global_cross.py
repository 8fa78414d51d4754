"""Global interaction as in Ovi: every token attends to every token of the other stream.

It is part of the text attention, whose query and output projections it shares; keys and values of
the other stream are the interaction's: o(attn(q, text) + attn(rope(q), rope(k_f), v_f)).
"""

from __future__ import annotations

from collections.abc import Collection

import attrs
from torch import Tensor, nn

from harmony_parts.av import AV, STREAMS
from harmony_parts.branches.protocol import Branch, Term, Tokens
from harmony_parts.interaction.positions import RopeMap, constant_knob, map_knob, positions
from harmony_parts.interaction.protocol import Exchange, Layout
from harmony_parts.layers.attention import attend
from harmony_parts.layers.linear import LayerNorm, Linear
from harmony_parts.layers.rope import angles, grid_angles, rotate, table, time_pairs
from harmony_parts.layers.sequence import WHOLE, VideoShare, attend_to_all, check_divides


@attrs.frozen
class Global:
    """Settings of the interaction."""

    rope_map: RopeMap = map_knob("paper, section 3.2; Ovi: constant")
    constant: float = constant_knob()

    def build(self, *, branches: AV[Branch]) -> GlobalCross:
        """The interaction of one layer."""
        return GlobalCross(self, branches)


class GlobalCross(nn.Module):
    """A term for each stream's text attention; value projections start at zero, and so does it."""

    def __init__(self, spec: Global, branches: AV[Branch]) -> None:
        super().__init__()
        self.spec = spec
        video, audio = branches["video"], branches["audio"]
        self.to_video, self.to_audio = CrossKeysValues(video, audio), CrossKeysValues(audio, video)
        self.share = WHOLE

    def share_video(self, share: VideoShare) -> None:
        """The audio's term reads the tokens of all processes."""
        self.to_audio.share_source(share)
        self.share = share

    def tables(self, layout: Layout) -> AV[AV[Tensor]]:
        """RoPE tables of both streams on the video's time line, by the stream that receives.

        They fit the heads of that stream. Video [T_v, S, d/2, 2] rotates with time, height and
        width, as in its self-attention; audio [T_a, 1, pairs, 2] only with time. Of a video that
        processes share, only the own tokens are there.
        """
        at_video, at_audio = positions(
            layout.clocks["video"], layout.clocks["audio"], self.spec.rope_map, self.spec.constant
        )

        def rope(pairs: int) -> AV[Tensor]:
            whole = grid_angles(at_video, *layout.grid["video"], pairs)
            video = self.share.take(whole, 1)
            audio = angles(at_audio, time_pairs(pairs))[:, None]
            return AV(table(video).to(layout.device), table(audio).to(layout.device))

        return AV(rope(self.to_video.pairs), rope(self.to_audio.pairs))

    def update_reference(self, video: Tokens, audio: Tokens) -> None:
        """It leaves the reference unchanged."""

    def forward(
        self, video: Tokens, audio: Tokens, tables: AV[AV[Tensor]], to: Collection[str] = STREAMS
    ) -> AV[Exchange]:
        """The terms of both streams, from their states before either update."""
        v, a = tables["video"], tables["audio"]
        return AV(
            video=Exchange(
                term=self.to_video(audio.hidden, v["video"], v["audio"]) if "video" in to else None
            ),
            audio=Exchange(
                term=self.to_audio(video.hidden, a["audio"], a["video"]) if "audio" in to else None
            ),
        )


class CrossKeysValues(nn.Module):
    """Keys and values of a source stream, for the queries of a reader."""

    def __init__(self, reader: Branch, source: Branch) -> None:
        super().__init__()
        self.heads, self.pairs = reader.heads, reader.width // reader.heads // 2
        self.norm_source, self.norm_k = (
            LayerNorm(source.width, eps=1e-6),
            nn.RMSNorm(reader.width, eps=1e-6),
        )
        self.k, self.v = Linear(source.width, reader.width), Linear(source.width, reader.width)
        nn.init.zeros_(self.v.weight)
        nn.init.zeros_(self.v.bias)
        self.share = WHOLE

    def share_source(self, share: VideoShare) -> None:
        """The source is divided between processes, and every one has the whole reader."""
        check_divides(self.heads, "heads of the interaction", share)
        self.share = share

    def forward(self, source: Tensor, q_rope: Tensor, k_rope: Tensor) -> Term:
        """The source [B, Tk, Sk, E] -> a term for the reader's queries [B, Tq, Sq, h, d].

        `q_rope` and `k_rope`: tables [T, S, pairs, 2] of reader and source.
        """
        y = self.norm_source(source)
        k, v = (
            self.norm_k(self.k(y)).unflatten(-1, (self.heads, -1)),
            self.v(y).unflatten(-1, (self.heads, -1)),
        )
        k = rotate(k, k_rope[:, :, None])

        def term(q: Tensor) -> Tensor:
            rotated = rotate(q, q_rope[:, :, None]).flatten(1, 2)
            keys, values = k.flatten(1, 2), v.flatten(1, 2)
            return attend_to_all(attend, rotated, keys, values, dim=1, share=self.share).view_as(q)

        return term
