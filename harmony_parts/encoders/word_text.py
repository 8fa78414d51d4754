"""A caption of the picture or of the sound, encoded word by word by a small transformer."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence

import attrs
from torch import Tensor, nn

from harmony_parts.av import AV, Condition, Format, Prompt
from harmony_parts.codecs.protocol import AudioCodec, VideoCodec
from harmony_parts.encoders.byte_text import FIELDS, Layer
from harmony_parts.encoders.text_ids import FILLER, positions, text_condition
from harmony_parts.plugin import knob

WORD = re.compile(r"\w+(?:'\w+)*|[^\w\s]")


@attrs.frozen
class WordText:
    """Words -> embedding + position -> pre-norm transformer -> tokens [B, L, width].

    A word in lower case, or a sign of punctuation, is a row of a table, chosen by the CRC-32 of its
    UTF-8: there is no vocabulary file, and rarely do two words share a row. L is the number of
    words of the batch's longest text. It produces one condition, named after its field. An absent
    or empty text is one learnt token. A text of more than `length` words is cut. It is trained with
    the model: it learns faster than `bytes`, which must learn to read first, but it knows nothing
    of a word that it has never met. Raises ValueError if width isn't a multiple of heads, or is
    odd.
    """

    field: str = knob(
        "caption", help="which field of the prompt it reads", validator=attrs.validators.in_(FIELDS)
    )
    width: int = knob(64, help="width of its tokens", validator=attrs.validators.ge(2))
    layers: int = knob(1, help="transformer layers", off=0, validator=attrs.validators.ge(0))
    heads: int = knob(4, help="attention heads", validator=attrs.validators.ge(1))
    rows: int = knob(4096, help="rows of the table of words", validator=attrs.validators.ge(1))
    length: int = knob(
        64,
        help="longest text; longer ones are cut",
        unit="words",
        validator=attrs.validators.ge(1),
    )

    def __attrs_post_init__(self) -> None:
        if self.width % self.heads or self.width % 2:
            raise ValueError(
                f"WordText.width must be even and a multiple of heads ({self.heads}), not"
                f" {self.width}"
            )

    def build(self, *, format: Format, codecs: AV[VideoCodec | AudioCodec]) -> WordTextEncoder:
        """The encoder, with fresh weights; it uses neither format nor codecs."""
        return WordTextEncoder(self)


class WordTextEncoder(nn.Module):
    """The encoder of `WordText`."""

    produces: Mapping[str, int]
    positions: Tensor

    def __init__(self, spec: WordText) -> None:
        super().__init__()
        self.spec = spec
        self.produces = {spec.field: spec.width}
        self.embedding = nn.Embedding(spec.rows + 1, spec.width)
        self.layers = nn.ModuleList(Layer(spec.width, spec.heads) for _ in range(spec.layers))
        self.norm = nn.LayerNorm(spec.width)
        self.register_buffer("positions", positions(spec.length, spec.width), persistent=False)

    def forward(self, prompts: Sequence[Prompt]) -> dict[str, Condition]:
        """{field: tokens [B, L, width], mask [B, L]}."""
        return {
            self.spec.field: text_condition(
                [getattr(prompt, self.spec.field) for prompt in prompts],
                self.spec.length,
                self.embedding.weight.device,
                self._network,
                training=self.training,
                to_ids=self._ids,
                size=lambda text: len(words_of(text)),
                unit="words",
            )
        }

    def _ids(self, text: str | None, length: int) -> list[int]:
        """The rows of a text's first `length` words; row 0 is the filler."""
        words = words_of(text or "")[:length]
        codes = (zlib.crc32(word.encode("utf-8", errors="replace")) for word in words)
        return [1 + code % self.spec.rows for code in codes] or [FILLER]

    def _network(self, ids: Tensor, mask: Tensor) -> Tensor:
        x = self.embedding(ids) + self.positions[: ids.shape[1]]
        for layer in self.layers:
            x = layer(x, mask)
        return self.norm(x) * mask[..., None]


def words_of(text: str) -> list[str]:
    """Words in lower case and signs of punctuation, in order."""
    return WORD.findall(text.lower())
