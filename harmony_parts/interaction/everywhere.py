"""Global interaction as in Ovi: every token of a stream attends to every token of the other, through its own text attention.

The query and the output projection are those of the text attention; keys and values of the other stream are the interaction's. What is
heard is added before the output projection: o(attn(q, text) + attn(rope(q), rope(k_f), v_f)).
"""

from __future__ import annotations

import attrs
from torch import Tensor, nn

from harmony_parts.av import AV
from harmony_parts.blocks.attention import attend
from harmony_parts.blocks.protocol import Branch, Term, Tokens
from harmony_parts.interaction.positions import OVI_CONSTANT, RopeMap, positions
from harmony_parts.interaction.protocol import Exchange, Layout
from harmony_parts.plugin import knob
from harmony_parts.rope import angles, rotate, table


@attrs.frozen
class Global:
    """Settings of the interaction."""

    rope_map: RopeMap = knob(
        "ratio",
        help="How one stream's latents are placed on the other's time line.",
        source="paper, section 3.2; Ovi: constant",
        validator=attrs.validators.in_(("ratio", "seconds", "constant")),
    )
    constant: float = knob(
        OVI_CONSTANT, help="Video latents per audio latent, for the `constant` map.", source="Ovi", validator=attrs.validators.gt(0)
    )

    def build(self, *, branches: AV[Branch]) -> GlobalCross:
        """The interaction of one layer."""
        return GlobalCross(self, branches)


class GlobalCross(nn.Module):
    """A term for each stream's text attention. The value projections start at zero, so that nothing is heard at first."""

    def __init__(self, spec: Global, branches: AV[Branch]) -> None:
        super().__init__()
        self.spec = spec
        video, audio = branches["video"], branches["audio"]
        self.to_video, self.to_audio = Heard(video, audio), Heard(audio, video)

    def tables(self, layout: Layout) -> AV[tuple[Tensor, Tensor]]:
        """Rotary tables (queries', keys') of both directions, named after the stream that reads."""
        return AV(
            video=self._turns(layout.clocks["video"], layout.clocks["audio"], self.spec.constant, self.to_video.pairs),
            audio=self._turns(layout.clocks["audio"], layout.clocks["video"], 1 / self.spec.constant, self.to_audio.pairs),
        )

    def _turns(self, queries: Tensor, keys: Tensor, constant: float, pairs: int) -> tuple[Tensor, Tensor]:
        own, other = positions(queries, keys, self.spec.rope_map, constant)
        return table(angles(own, pairs)), table(angles(other, pairs))

    def forward(self, video: Tokens, audio: Tokens, tables: AV[tuple[Tensor, Tensor]]) -> AV[Exchange]:
        """The terms of both streams, from the states before either update."""
        return AV(
            video=Exchange(term=self.to_video(audio.hidden, *tables["video"])),
            audio=Exchange(term=self.to_audio(video.hidden, *tables["audio"])),
        )


class Heard(nn.Module):
    """Keys and values of the other stream for a reader's queries."""

    def __init__(self, reader: Branch, source: Branch) -> None:
        super().__init__()
        self.heads, self.pairs = reader.heads, reader.width // reader.heads // 2
        self.norm_source, self.norm_k = nn.LayerNorm(source.width, eps=1e-6), nn.RMSNorm(reader.width, eps=1e-6)
        self.k, self.v = nn.Linear(source.width, reader.width), nn.Linear(source.width, reader.width)
        nn.init.zeros_(self.v.weight)
        nn.init.zeros_(self.v.bias)

    def forward(self, source: Tensor, q_turn: Tensor, k_turn: Tensor) -> Term:
        """The other stream [B, Tk, Sk, E] -> a function of the reader's queries [B, Tq, Sq, h, d]."""
        y = self.norm_source(source)
        k, v = self.norm_k(self.k(y)).unflatten(-1, (self.heads, -1)), self.v(y).unflatten(-1, (self.heads, -1))
        k = rotate(k, k_turn[:, None, None])

        def term(q: Tensor) -> Tensor:
            turned = rotate(q, q_turn[:, None, None])
            return attend(turned.flatten(1, 2), k.flatten(1, 2), v.flatten(1, 2)).view_as(q)

        return term
