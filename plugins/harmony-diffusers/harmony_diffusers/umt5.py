"""Texts encoded by a frozen UMT5, through transformers, as in Wan and Ovi."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor
from torch.nn.functional import pad

from harmony_diffusers.frozen import (
    Frozen,
    Precision,
    config_knob,
    model_knob,
    precision_knob,
    revision_knob,
    subfolder_knob,
    transformers_model,
)
from harmony_diffusers.texts import (
    TextEncoder,
    batched,
    cache_knob,
    check_pieces,
    cleaned,
    length_knob,
    load_tokenizer,
    tokenizer_knob,
    warn_if_cut,
)
from harmony_parts.av import AV, Condition, Format, Prompt
from harmony_parts.codecs.protocol import AudioCodec, VideoCodec
from harmony_parts.plugin import knob

XXL: dict[str, Any] = {
    "vocab_size": 256384,
    "d_model": 4096,
    "d_kv": 64,
    "d_ff": 10240,
    "num_layers": 24,
    "num_heads": 64,
    "feed_forward_proj": "gated-gelu",
}
"""The configuration of google/umt5-xxl (encoder: 5.7 G parameters), to count without weights."""


@attrs.frozen
class UMT5:
    """Frozen UMT5 encoder: each condition's text -> tokens [B, length, 4096], zero after its end.

    The mask is all True, since Wan and Ovi attend to the zeros. Text is cleaned as theirs (HTML
    entities, white space; without ftfy). A condition's text is made of pieces, joined with spaces;
    pieces whose field is absent or empty in a prompt are left out. Without any field, it is the
    null form: the tokens of `negative`. Each text is encoded by itself, so it doesn't depend on its
    batch. Source: arXiv:2304.09151; as Wan uses it, arXiv:2503.20314. The weights of UMT5 are
    Apache-2.0: 5.7 G parameters, 11 GB in bfloat16.
    """

    model: str = model_knob("Wan-AI/Wan2.2-TI2V-5B-Diffusers")
    subfolder: str = subfolder_knob("text_encoder", "encoder")
    revision: str = revision_knob()
    config: dict[str, Any] = config_knob("transformers.UMT5Config")
    precision: Precision = precision_knob("bfloat16")
    tokenizer: str = tokenizer_knob()
    tokenizer_subfolder: str = subfolder_knob("tokenizer", "tokenizer")
    conditions: dict[str, tuple[str, ...]] = knob(
        {"caption": ("{caption}",)},
        help=(
            "condition -> pieces of its text, with {caption}, {sound} and {speech} for the prompt's"
            " fields"
        ),
        source=(
            'Ovi, arXiv:2510.01284: both branches read ["{caption}", "<S>{speech}<E>",'
            ' "<AUDCAP>{sound}<ENDAUDCAP>"]'
        ),
        converter=lambda conditions: {
            name: (pieces,) if isinstance(pieces, str) else tuple(pieces)
            for name, pieces in conditions.items()
        },
    )
    negative: dict[str, str] = knob(
        {},
        help="condition -> text of its null form; by default empty",
        off={},
        converter=dict,
    )
    length: int = length_knob(512, source="Wan, Ovi: 512", padding=" with zeros")
    cache: int = cache_knob(256)

    @conditions.validator
    def _of_known_fields(self, attribute: object, conditions: Mapping[str, Sequence[str]]) -> None:
        if not conditions:
            raise ValueError("conditions is empty: add at least one, with the pieces of its text")
        for name, pieces in conditions.items():
            check_pieces(f"conditions.{name}", pieces)

    @negative.validator
    def _of_known_conditions(self, attribute: object, negative: Mapping[str, str]) -> None:
        if unknown := sorted(set(negative) - set(self.conditions)):
            raise ValueError(
                f"negative.{unknown[0]}: no such condition; choose one of"
                f" {', '.join(self.conditions)}"
            )

    def build(self, *, format: Format, codecs: AV[VideoCodec | AudioCodec]) -> UMT5Encoder:
        """The encoder; it uses neither format nor codecs.

        Raises ValueError if weights or tokenizer can't be loaded.
        """
        return UMT5Encoder(self)


class UMT5Encoder(TextEncoder[Tensor]):
    """The encoder of `UMT5`."""

    produces: Mapping[str, int]

    def __init__(self, spec: UMT5) -> None:
        from transformers import UMT5EncoderModel

        super().__init__(spec.cache)
        self.spec = spec
        place = (spec.model, spec.subfolder, spec.revision)
        self.frozen = Frozen(
            transformers_model(UMT5EncoderModel, XXL, spec.config, spec.precision, *place)
        )
        self.width: int = self._model.config.d_model
        self.produces = dict.fromkeys(spec.conditions, self.width)
        self._tokenizer = load_tokenizer(spec) if self.frozen.device.type != "meta" else None

    @property
    def _model(self) -> Any:
        return self.frozen.models[0]

    @torch.no_grad()
    def forward(self, prompts: Sequence[Prompt]) -> dict[str, Condition]:
        """{condition: tokens float32 [B, length, width], mask [B, length]}."""
        return {name: self._condition(name, prompts) for name in self.produces}

    def _condition(self, name: str, prompts: Sequence[Prompt]) -> Condition:
        negative = cleaned(self.spec.negative.get(name, ""))
        rows, null = self._rows(self.spec.conditions[name], prompts, negative)
        tokens, nulls = batched([self._padded(row) for row in rows], self._padded(null))
        mask = torch.ones(len(rows), self.spec.length, dtype=torch.bool, device=null.device)
        return Condition(tokens, mask, Condition(nulls, mask))

    def _padded(self, tokens: Tensor) -> Tensor:
        """[n, width] -> [length, width]."""
        return pad(tokens, (0, 0, 0, self.spec.length - len(tokens)))

    def _encoded(self, text: str) -> Tensor:
        """float32 [n, width], n at most `length`."""
        if self._tokenizer is None:  # on the meta device: only shapes
            return torch.empty(self.spec.length, self.width, device=self.frozen.device)
        ids = self._tokenizer(text, truncation=True, max_length=self.spec.length).input_ids
        if len(ids) == self.spec.length and not self._warned:
            self._warned = warn_if_cut("umt5", self._tokenizer, text, self.spec.length)
        row = torch.tensor([ids], device=self.frozen.device)
        return (
            self._model(input_ids=row, attention_mask=torch.ones_like(row))
            .last_hidden_state[0]
            .float()
        )
