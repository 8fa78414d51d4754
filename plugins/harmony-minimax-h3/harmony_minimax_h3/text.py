"""Texts encoded as in MiniMax-H3: the states of a frozen Qwen3-VL after its 50th layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

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
    cache_knob,
    length_knob,
    load_tokenizer,
    pieces_knob,
    tokenizer_knob,
)
from harmony_parts.av import AV, Condition, Format, Prompt
from harmony_parts.codecs.protocol import AudioCodec, VideoCodec
from harmony_parts.errors import warn_caller
from harmony_parts.plugin import knob

QWEN: dict[str, Any] = {
    "text_config": {
        "vocab_size": 151936,
        "hidden_size": 5120,
        "intermediate_size": 25600,
        "num_hidden_layers": 64,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "head_dim": 128,
    },
    "vision_config": {
        "depth": 27,
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_heads": 16,
        "out_hidden_size": 5120,
    },
}
"""The configuration of Qwen3-VL-32B, to count without weights."""


@attrs.frozen
class MiniMaxH3Text:
    """Frozen Qwen3-VL: one text -> the condition "caption", [B, L, 5120].

    The states after layer `layer`, of the text alone, without a template; the layers after that,
    the head and what sees pictures are never needed, and dropped. L is the length of the longest of
    the texts at hand, shorter ones are masked. A text is made of the pieces whose field a prompt
    has, joined with spaces; a prompt without any of them gets the null form, the tokens of
    `negative`, which the model wasn't trained on: it is distilled from guidance by text. Each text
    is encoded by itself. Source: diffusers' MiniMaxH3ModularPipeline. Of Qwen3-VL-32B 25.2 G
    parameters are used (50 GB in bfloat16), Apache-2.0.
    """

    model: str = model_knob("")
    subfolder: str = subfolder_knob("text_encoder", "Qwen3-VL")
    revision: str = revision_knob()
    config: dict[str, Any] = config_knob("transformers.Qwen3VLConfig")
    precision: Precision = precision_knob("bfloat16")
    tokenizer: str = tokenizer_knob()
    tokenizer_subfolder: str = subfolder_knob("tokenizer", "tokenizer")
    text: tuple[str, ...] = pieces_knob(
        ("{caption}", "{sound}", '"{speech}"'), source="one text for both streams"
    )
    negative: str = knob(
        " ",
        help="text of the null form, of at least one token",
        validator=attrs.validators.min_len(1),
    )
    layer: int = knob(
        50,
        help="number of the layer whose states are read",
        source="MiniMaxH3ModularPipeline.text_encoder_layer",
        validator=attrs.validators.ge(1),
    )
    length: int = length_knob(1024, source="none; longer texts take more memory")
    cache: int = cache_knob(16)

    def build(self, *, format: Format, codecs: AV[VideoCodec | AudioCodec]) -> MiniMaxH3TextEncoder:
        """The encoder; it uses neither format nor codecs.

        Raises ValueError if the weights can't be loaded, or have too few layers.
        """
        return MiniMaxH3TextEncoder(self)


class MiniMaxH3TextEncoder(TextEncoder[Tensor]):
    """The encoder of `MiniMaxH3Text`."""

    produces: Mapping[str, int]

    def __init__(self, spec: MiniMaxH3Text) -> None:
        from transformers import Qwen3VLForConditionalGeneration

        super().__init__(spec.cache)
        self.spec = spec
        qwen = transformers_model(
            Qwen3VLForConditionalGeneration,
            QWEN,
            spec.config,
            spec.precision,
            spec.model,
            spec.subfolder,
            spec.revision,
        )
        self.frozen = Frozen(_first_layers(qwen.model.language_model, spec.layer))
        self.produces = {"caption": qwen.config.text_config.hidden_size}
        self._tokenizer = load_tokenizer(spec) if self.frozen.device.type != "meta" else None

    @torch.no_grad()
    def forward(self, prompts: Sequence[Prompt]) -> dict[str, Condition]:
        """{"caption": float32 [B, L, width], mask [B, L]}, L that of the longest of these texts."""
        rows, null = self._rows(self.spec.text, prompts, self.spec.negative, str.strip)
        tokens, mask = _padded([null, *rows])
        nulls = (each[:1].expand(len(rows), *each.shape[1:]) for each in (tokens, mask))
        return {"caption": Condition(tokens[1:], mask[1:], Condition(*nulls))}

    def _encoded(self, text: str) -> Tensor:
        """float32 [tokens, width]."""
        if self._tokenizer is None:  # on the meta device: only shapes
            return torch.empty(
                self.spec.length, self.produces["caption"], device=self.frozen.device
            )
        # not verbose, or the tokenizer adds a warning about indexing errors
        ids = self._tokenizer(text, add_special_tokens=False, verbose=False).input_ids
        if len(ids) > self.spec.length and not self._warned:
            self._warned = True
            warn_caller(
                f"a text of {len(ids)} tokens ({text[:40]!r} ...) is cut after {self.spec.length},"
                " like all longer ones; raise minimax-h3-text's setting `length` to read more"
            )
        ids = torch.tensor([ids[: self.spec.length]], device=self.frozen.device)
        (qwen,) = self.frozen.models
        states: Tensor = qwen(input_ids=ids, use_cache=False).last_hidden_state
        return states[0].float()


def _first_layers(qwen: Any, layer: int) -> nn.Module:
    """The language model that ends with that layer, without the norm after the last one.

    Raises ValueError unless there are more.
    """
    if len(qwen.layers) <= layer:
        raise ValueError(
            f"the text model has {len(qwen.layers)} layers, and the states after layer {layer} are"
            " read, which must not be the last one (layer)"
        )
    qwen.layers = qwen.layers[:layer]
    qwen.norm = nn.Identity()
    model: nn.Module = qwen
    return model


def _padded(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Rows [n, width] -> [B, L, width] and mask [B, L]."""
    tokens = pad_sequence(list(rows), batch_first=True)
    lengths = torch.tensor([len(row) for row in rows], device=tokens.device)
    return tokens, torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None]
