"""Global interaction as in Ovi: every token of a stream attends to every token of the other,
through its own text attention.

The query and the output projection are those of the text attention; keys and values of the other
stream are the interaction's. What is heard is added before the output projection: o(attn(q, text) +
attn(rope(q), rope(k_f), v_f)).
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


@attrs.frozen
class Global:
    """Settings of the interaction."""

    rope_map: RopeMap = map_knob("paper, section 3.2; Ovi: constant")
    constant: float = constant_knob()

    def build(self, *, branches: AV[Branch]) -> GlobalCross:
        """The interaction of one layer."""
        return GlobalCross(self, branches)


class GlobalCross(nn.Module):
    """A term for each stream's text attention. The value projections start at zero, so that nothing
    is heard at first.
    """

    def __init__(self, spec: Global, branches: AV[Branch]) -> None:
        super().__init__()
        self.spec = spec
        video, audio = branches["video"], branches["audio"]
        self.to_video, self.to_audio = CrossKeysValues(video, audio), CrossKeysValues(audio, video)

    def tables(self, layout: Layout) -> AV[AV[Tensor]]:
        """Rotary tables of both streams on the video's time line, for the heads of the stream that
        reads.

        Video [T_v, S, d/2, 2] turns with time, height and width, as in its self-attention; audio
        [T_a, 1, pairs, 2] with time alone.
        """
        own, other = positions(
            layout.clocks["video"], layout.clocks["audio"], self.spec.rope_map, self.spec.constant
        )

        def turns(pairs: int) -> AV[Tensor]:
            video, audio = (
                grid_angles(own, *layout.grid["video"], pairs),
                angles(other, time_pairs(pairs))[:, None],
            )
            return AV(table(video).to(layout.device), table(audio).to(layout.device))

        return AV(turns(self.to_video.pairs), turns(self.to_audio.pairs))

    def forward(
        self, video: Tokens, audio: Tokens, tables: AV[AV[Tensor]], to: Collection[str] = STREAMS
    ) -> AV[Exchange]:
        """The terms of both streams, from the states before either update."""
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
    """Keys and values of the other stream for a reader's queries."""

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

    def forward(self, source: Tensor, q_turn: Tensor, k_turn: Tensor) -> Term:
        """The other stream [B, Tk, Sk, E] -> a function of the reader's queries [B, Tq, Sq, h, d];
        tables [T, S, pairs, 2] of both.
        """
        y = self.norm_source(source)
        k, v = (
            self.norm_k(self.k(y)).unflatten(-1, (self.heads, -1)),
            self.v(y).unflatten(-1, (self.heads, -1)),
        )
        k = rotate(k, k_turn[:, :, None])

        def term(q: Tensor) -> Tensor:
            turned = rotate(q, q_turn[:, :, None])
            return attend(turned.flatten(1, 2), k.flatten(1, 2), v.flatten(1, 2)).view_as(q)

        return term
