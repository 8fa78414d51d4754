"""Spoken words, encoded as in F5-TTS: embedding and position, then ConvNeXt V2 blocks over time.

What is embedded is bytes, or F5-TTS's own characters, with pinyin for Chinese.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, get_args

import attrs
import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from harmony_parts.av import AV, Condition, Format, Prompt
from harmony_parts.codecs.protocol import AudioCodec, VideoCodec
from harmony_parts.encoders.characters import COUNT, character_ids
from harmony_parts.encoders.text_ids import IDS, ids_of, positions, text_condition
from harmony_parts.plugin import knob

F5 = "F5-TTS, arXiv:2410.06885"


Units = Literal["bytes", "characters"]


@attrs.frozen
class UnitKind:
    """How many ids there are, how many at most a character has, and those of a text's first n."""

    count: int
    per_character: int
    ids: Callable[[str | None, int], list[int]]


UNITS: dict[str, UnitKind] = {
    "bytes": UnitKind(IDS, 4, lambda text, n: ids_of((text or "")[:n], 4 * n)),
    # a space and a syllable
    "characters": UnitKind(COUNT, 2, character_ids),
}


@attrs.frozen
class Transcript:
    """Characters -> embedding + sin/cos position -> ConvNeXt V2 blocks -> condition "speech".

    Its tokens are [B, L, width], L the length of the batch's longest transcript. F5-TTS pads to the
    length of the sound; here the audio branch attends to the tokens instead of concatenating them
    to the latents. The null form is the filler token. A text's tokens don't depend on the padding
    of its batch. Raises ValueError if width is odd.
    """

    units: Units = knob(
        "bytes",
        help=(
            "what is embedded: `bytes` of UTF-8, in any language; `characters` as F5-TTS's front"
            " end makes them, where Chinese is pinyin (by the package pypinyin: install"
            " harmony-parts[pinyin])"
        ),
        source="F5-TTS: characters",
        validator=attrs.validators.in_(get_args(Units)),
    )
    width: int = knob(
        64, help="width of its tokens (F5-TTS: 512)", source=F5, validator=attrs.validators.ge(2)
    )
    blocks: int = knob(
        2, help="ConvNeXt V2 blocks (F5-TTS: 4)", off=0, source=F5, validator=attrs.validators.ge(0)
    )
    expansion: int = knob(
        2,
        help="inner width of a block, as a multiple of its width",
        source=F5,
        validator=attrs.validators.ge(1),
    )
    length: int = knob(
        256,
        help="longest transcript; longer ones are cut",
        unit="characters",
        validator=attrs.validators.ge(1),
    )

    def __attrs_post_init__(self) -> None:
        if self.width % 2:
            raise ValueError(
                f"Transcript.width must be even (half cosines, half sines), not {self.width}"
            )

    def build(self, *, format: Format, codecs: AV[VideoCodec | AudioCodec]) -> TranscriptEncoder:
        """The encoder, with fresh weights; it uses neither format nor codecs."""
        return TranscriptEncoder(self)


class TranscriptEncoder(nn.Module):
    """The encoder of `Transcript`."""

    produces: Mapping[str, int]
    positions: Tensor

    def __init__(self, spec: Transcript) -> None:
        super().__init__()
        self.spec = spec
        self.produces = {"speech": spec.width}
        self.embedding = nn.Embedding(UNITS[spec.units].count, spec.width)
        self.blocks = nn.ModuleList(
            ConvNeXtV2(spec.width, spec.expansion) for _ in range(spec.blocks)
        )
        tokens = spec.length * UNITS[spec.units].per_character
        self.register_buffer("positions", positions(tokens, spec.width), persistent=False)

    def forward(self, prompts: Sequence[Prompt]) -> dict[str, Condition]:
        """{"speech": tokens [B, L, width], mask [B, L]}."""
        texts = [prompt.speech for prompt in prompts]
        return {
            "speech": text_condition(
                texts,
                self.spec.length,
                self.embedding.weight.device,
                self._network,
                training=self.training,
                to_ids=UNITS[self.spec.units].ids,
                size=len,
                unit="characters",
            )
        }

    def _network(self, ids: Tensor, mask: Tensor) -> Tensor:
        # Padded positions are 0 before and after every block, like the convolution's own padding.
        x = (self.embedding(ids) + self.positions[: ids.shape[1]]) * mask[..., None]
        for block in self.blocks:
            x = block(x, mask)
        return x


class ConvNeXtV2(nn.Module):
    """x + down(GRN(gelu(up(norm(depthwise conv of 7 over time)))), over [B, L, D].

    Source: Woo et al., arXiv:2301.00808, in one dimension. F5-TTS takes the norm of GRN over padded
    positions too, which biases make non-zero; here only over the mask, so that padding doesn't
    change the tokens.
    """

    def __init__(self, width: int, expansion: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(width, width, kernel_size=7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.up = nn.Linear(width, expansion * width)
        self.grn = GRN(expansion * width)
        self.down = nn.Linear(expansion * width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """[B, L, D], mask [B, L] -> [B, L, D]; outside the mask x is unchanged."""
        keep = mask[..., None]
        y = self.norm(self.conv(x.transpose(1, 2)).transpose(1, 2))
        y = self.down(self.grn(gelu(self.up(y)) * keep))
        return x + y * keep


class GRN(nn.Module):
    """Global response normalisation: y = gamma x N + beta + x, with N_c = G_c / mean_c G.

    G_c = ||x_c||_2 over time. gamma and beta start at 0, so it starts as the identity. Source:
    arXiv:2301.00808, eq. 1-3.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(width))
        self.beta = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """[B, L, D], 0 where padded -> [B, L, D]."""
        norm = torch.linalg.vector_norm(x, dim=1, keepdim=True)
        return self.gamma * (x * norm / (norm.mean(dim=-1, keepdim=True) + 1e-6)) + self.beta + x
