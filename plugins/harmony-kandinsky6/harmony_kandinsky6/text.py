"""Texts encoded as in Kandinsky 6: tokens of a frozen Qwen2.5-VL, one pooled token of CLIP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor

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
    length_knob,
    load_tokenizer,
    pieces_knob,
    tokenizer_knob,
    warn_if_cut,
)
from harmony_parts.av import AV, Condition, Format, Prompt
from harmony_parts.codecs.protocol import AudioCodec, VideoCodec
from harmony_parts.plugin import knob

QWEN: dict[str, Any] = {
    "text_config": {
        "vocab_size": 152064,
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
    },
    "vision_config": {
        "depth": 32,
        "hidden_size": 1280,
        "intermediate_size": 3420,
        "num_heads": 16,
        "out_hidden_size": 3584,
    },
}
"""The configuration of Qwen2.5-VL-7B, to count without weights."""
CLIP: dict[str, Any] = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "projection_dim": 768,
}
"""The configuration of CLIP ViT-L/14's text model."""

Encoded = tuple[Tensor, Tensor, Tensor]
"""Tokens, their mask, and the pooled token."""


@attrs.frozen
class Kandinsky6Text:
    """Frozen Qwen2.5-VL and CLIP: one text -> conditions "caption" and "pooled".

    "caption" is [B, length, 3584], the last states of Qwen2.5-VL after the instruction that
    Kandinsky 6 puts before each text; "pooled" is [B, 1, 768], CLIP's. A text is made of the pieces
    whose field a prompt has, joined with spaces; a prompt without any of them gets the null form,
    the tokens of `negative`. Each text is encoded by itself. Source: diffusers'
    Kandinsky6TI2VAPipeline. Qwen2.5-VL-7B has 8.3 G parameters (17 GB in bfloat16), Apache-2.0;
    CLIP's text model 123 M, MIT.
    """

    model: str = model_knob("")
    subfolder: str = subfolder_knob("text_encoder", "Qwen2.5-VL")
    clip_subfolder: str = subfolder_knob("text_encoder_2", "CLIP text model")
    revision: str = revision_knob()
    config: dict[str, Any] = config_knob("transformers.Qwen2_5_VLConfig")
    clip_config: dict[str, Any] = config_knob("transformers.CLIPTextConfig")
    precision: Precision = precision_knob("bfloat16")
    tokenizer: str = tokenizer_knob()
    tokenizer_subfolder: str = subfolder_knob("tokenizer", "tokenizer of Qwen2.5-VL")
    clip_tokenizer_subfolder: str = subfolder_knob("tokenizer_2", "tokenizer of CLIP")
    text: tuple[str, ...] = pieces_knob(
        ("{caption}", "<S>{speech}<E>", "<AUDCAP>{sound}<ENDAUDCAP>"),
        source="the marks that Kandinsky 6 has for spoken words and for sounds",
    )
    negative: str = knob(
        "", help="text of the null form; empty: the one of Kandinsky6TI2VAPipeline"
    )
    length: int = length_knob(1024, source="Kandinsky6TI2VAPipeline")
    cache: int = cache_knob(16)

    def __attrs_post_init__(self) -> None:
        if bool(self.config) != bool(self.clip_config):
            raise ValueError(
                "config and clip_config go together: give both, for random weights, or neither"
            )

    def build(
        self, *, format: Format, codecs: AV[VideoCodec | AudioCodec]
    ) -> Kandinsky6TextEncoder:
        """The encoder; it uses neither format nor codecs.

        Raises ValueError if the weights can't be loaded.
        """
        return Kandinsky6TextEncoder(self)


class Kandinsky6TextEncoder(TextEncoder[Encoded]):
    """The encoder of `Kandinsky6Text`."""

    produces: Mapping[str, int]

    def __init__(self, spec: Kandinsky6Text) -> None:
        from transformers import CLIPTextModel, Qwen2_5_VLForConditionalGeneration

        super().__init__(spec.cache)
        self.spec = spec
        place = (spec.precision, spec.model)
        qwen = transformers_model(
            Qwen2_5_VLForConditionalGeneration,
            QWEN,
            spec.config,
            *place,
            spec.subfolder,
            spec.revision,
        )
        clip = transformers_model(
            CLIPTextModel, CLIP, spec.clip_config, *place, spec.clip_subfolder, spec.revision
        )
        self.frozen = Frozen(qwen, clip)
        self.produces = {
            "caption": qwen.config.text_config.hidden_size,
            "pooled": clip.config.hidden_size,
        }
        self._tokenizers: tuple[Any, ...] = ()
        if self.frozen.device.type != "meta":
            second = attrs.evolve(spec, tokenizer_subfolder=spec.clip_tokenizer_subfolder)
            self._tokenizers = (load_tokenizer(spec), load_tokenizer(second))

    @torch.no_grad()
    def forward(self, prompts: Sequence[Prompt]) -> dict[str, Condition]:
        """{condition: tokens float32 [B, length or 1, width], mask [B, length or 1]}."""
        negative = self.spec.negative.strip() or _pipeline().negative
        rows, null = self._rows(self.spec.text, prompts, negative, str.strip)
        (tokens, no_tokens), (mask, no_mask), (pooled, no_pooled) = (
            batched([row[k] for row in rows], null[k]) for k in range(3)
        )
        one = torch.ones(len(rows), 1, dtype=torch.bool, device=pooled.device)
        return {
            "caption": Condition(tokens, mask, Condition(no_tokens, no_mask)),
            "pooled": Condition(pooled, one, Condition(no_pooled, one)),
        }

    def _encoded(self, text: str) -> Encoded:
        """Tokens float32 [length, width], mask bool [length], pooled token float32 [1, width]."""
        device, length = self.frozen.device, self.spec.length
        if not self._tokenizers:  # on the meta device: only shapes
            tokens, pooled = (
                torch.empty(n, self.produces[name], device=device)
                for n, name in ((length, "caption"), (1, "pooled"))
            )
            return tokens, torch.empty(length, dtype=torch.bool, device=device), pooled
        settings = {"padding": "max_length", "truncation": True, "return_tensors": "pt"}
        first, second = self._tokenizers
        pipeline = _pipeline()
        whole = pipeline.template.format(text)
        filled = first([whole], max_length=length + pipeline.start, **settings).to(device)
        if filled.attention_mask.all() and not self._warned:
            self._warned = warn_if_cut("kandinsky6-text", first, whole, length + pipeline.start)
        qwen, clip = self.frozen.models
        # without the head, which would compute a logit for each word of its vocabulary
        states = qwen.model(
            input_ids=filled.input_ids, attention_mask=filled.attention_mask
        ).last_hidden_state
        short = second([text], max_length=pipeline.clip_length, **settings).to(device)
        pooled = clip(input_ids=short.input_ids, attention_mask=short.attention_mask).pooler_output
        kept = slice(pipeline.start, None)
        return states[0, kept].float(), filled.attention_mask[0, kept].bool(), pooled.float()


@attrs.frozen
class _Pipeline:
    """What diffusers' pipeline says around a text, and how many tokens of it are left out."""

    template: str
    start: int
    clip_length: int
    negative: str


def _pipeline() -> _Pipeline:
    from diffusers.pipelines.kandinsky6 import pipeline_kandinsky6_ti2va as theirs

    return _Pipeline(
        theirs._PROMPT_TEMPLATE,
        theirs._QWEN_CROP_START,
        theirs._CLIP_MAX_LENGTH,
        theirs.Kandinsky6TI2VAPipeline._DEFAULT_NEGATIVE_PROMPT,
    )
