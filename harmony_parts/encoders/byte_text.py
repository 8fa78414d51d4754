"""A caption of the picture or of the sound, encoded byte by byte by a small transformer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from harmony_parts.av import AV, Condition, Format, Prompt
from harmony_parts.codecs.protocol import AudioCodec, VideoCodec
from harmony_parts.encoders.text_ids import IDS, positions, text_condition
from harmony_parts.plugin import knob

FIELDS = ("caption", "sound", "speech")


@attrs.frozen
class ByteText:
    """UTF-8 bytes -> embedding + position -> pre-norm transformer -> tokens [B, L, width].

    L is the length of the batch's longest text. It produces one condition, named after its field.
    An absent or empty text is one learnt token. A text longer than `length` is cut between
    characters. It is trained with the model, so it suits the few thousand different captions of a
    small data set; for open text use a T5 plugin. Raises ValueError if width isn't a multiple of
    heads, or is odd.
    """

    field: str = knob(
        "caption", help="which field of the prompt it reads", validator=attrs.validators.in_(FIELDS)
    )
    width: int = knob(64, help="width of its tokens", validator=attrs.validators.ge(2))
    layers: int = knob(1, help="transformer layers", off=0, validator=attrs.validators.ge(0))
    heads: int = knob(4, help="attention heads", validator=attrs.validators.ge(1))
    length: int = knob(
        96,
        help="longest text; longer ones are cut",
        unit="bytes",
        validator=attrs.validators.ge(1),
    )

    def __attrs_post_init__(self) -> None:
        if self.width % self.heads or self.width % 2:
            raise ValueError(
                f"ByteText.width must be even and a multiple of heads ({self.heads}), not"
                f" {self.width}"
            )

    def build(self, *, format: Format, codecs: AV[VideoCodec | AudioCodec]) -> ByteTextEncoder:
        """The encoder, with fresh weights; it uses neither format nor codecs."""
        return ByteTextEncoder(self)


class ByteTextEncoder(nn.Module):
    """The encoder of `ByteText`."""

    produces: Mapping[str, int]
    positions: Tensor

    def __init__(self, spec: ByteText) -> None:
        super().__init__()
        self.spec = spec
        self.produces = {spec.field: spec.width}
        self.embedding = nn.Embedding(IDS, spec.width)
        self.layers = nn.ModuleList(Layer(spec.width, spec.heads) for _ in range(spec.layers))
        self.norm = nn.LayerNorm(spec.width)
        self.register_buffer("positions", positions(spec.length, spec.width), persistent=False)

    def forward(self, prompts: Sequence[Prompt]) -> dict[str, Condition]:
        """{field: tokens [B, L, width], mask [B, L]}."""
        texts: list[str | None] = [getattr(prompt, self.spec.field) for prompt in prompts]
        return {
            self.spec.field: text_condition(
                texts,
                self.spec.length,
                self.embedding.weight.device,
                self._network,
                training=self.training,
            )
        }

    def _network(self, ids: Tensor, mask: Tensor) -> Tensor:
        x = self.embedding(ids) + self.positions[: ids.shape[1]]
        for layer in self.layers:
            x = layer(x, mask)
        return self.norm(x) * mask[..., None]


class Layer(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)), over [B, L, D], with key mask [B, L]."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """[B, L, D] -> [B, L, D]."""
        # each [B, heads, L, d]
        q, k, v = (
            self.qkv(self.attention_norm(x))
            .unflatten(-1, (3, self.heads, -1))
            .permute(2, 0, 3, 1, 4)
        )
        seen = scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :])
        x = x + self.out(seen.transpose(1, 2).flatten(2))
        return x + self.down(gelu(self.up(self.mlp_norm(x))))
