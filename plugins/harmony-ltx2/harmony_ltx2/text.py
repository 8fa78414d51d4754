"""Texts encoded as in LTX-2: all layers of a frozen Gemma, and a connector for each stream."""

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
    diffusers_model,
    model_knob,
    precision_knob,
    revision_knob,
    saved_model_class,
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
from harmony_parts.av import AV, STREAMS, Condition, Format, Prompt
from harmony_parts.codecs.protocol import AudioCodec, VideoCodec
from harmony_parts.plugin import knob

CONDITIONS = AV(video="caption", audio="sound")
"""The condition of each stream."""

GEMMA: dict[str, Any] = {
    "text_config": {
        "vocab_size": 262208,
        "hidden_size": 3840,
        "intermediate_size": 15360,
        "num_hidden_layers": 48,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 256,
    },
    "vision_config": {
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_hidden_layers": 27,
        "num_attention_heads": 16,
        "image_size": 896,
        "patch_size": 14,
        "vision_use_head": False,
    },
}
"""The configuration of Gemma 3 12B, to count without weights."""

Encoded = tuple[Tensor, Tensor, Tensor]
"""The connectors' output: video tokens, audio tokens, mask."""


@attrs.frozen
class LTX2Text:
    """A frozen Gemma and LTX-2's connectors: one text -> conditions "caption" and "sound".

    Each is [B, length, width], "caption" for the video and "sound" for the audio. A text is padded
    on the left to `length`; the connectors read the states of all layers of Gemma, and replace
    padding by learned tokens, so that no token is masked. A text is made of the pieces whose field
    a prompt has, joined with spaces; a prompt without any of them gets the null form, the tokens of
    `negative`. Each text is encoded by itself, so it doesn't depend on its batch. The folder says
    whether it is Gemma 3 (LTX-2.0 and 2.3) or Gemma 4 (2.5). Source: arXiv:2601.03233, as in
    diffusers' LTX2Pipeline. Gemma 3 12B has 12.2 G parameters (24 GB in
    bfloat16) under Google's Gemma Terms of Use, the connectors 1.4 G under the LTX-2 Community
    License: read both before use.
    """

    model: str = model_knob("Lightricks/LTX-2")
    subfolder: str = subfolder_knob("text_encoder", "text model")
    connectors_subfolder: str = subfolder_knob("connectors", "connectors")
    revision: str = revision_knob()
    config: dict[str, Any] = config_knob(
        'transformers.Gemma3Config, or with model_type = "gemma4_unified" of Gemma4UnifiedConfig'
    )
    connectors_config: dict[str, Any] = config_knob("diffusers.pipelines.ltx2.LTX2TextConnectors")
    precision: Precision = precision_knob("bfloat16")
    tokenizer: str = tokenizer_knob()
    tokenizer_subfolder: str = subfolder_knob("tokenizer", "tokenizer")
    text: tuple[str, ...] = pieces_knob(
        ("{caption}", "{sound}", '"{speech}"'),
        source="LTX-2 has one text for both streams, with spoken words in quotation marks",
    )
    negative: str = knob("", help="text of the null form", off="")
    length: int = length_knob(1024, source="LTX2Pipeline")
    cache: int = cache_knob(16)

    def __attrs_post_init__(self) -> None:
        if bool(self.config) != bool(self.connectors_config):
            raise ValueError(
                "config and connectors_config go together: give both, for random weights, or"
                " neither"
            )

    def build(self, *, format: Format, codecs: AV[VideoCodec | AudioCodec]) -> LTX2TextEncoder:
        """The encoder; it uses neither format nor codecs.

        Raises ValueError if the weights can't be loaded, or don't match each other.
        """
        return LTX2TextEncoder(self)


class LTX2TextEncoder(TextEncoder[Encoded]):
    """The encoder of `LTX2Text`."""

    produces: Mapping[str, int]

    def __init__(self, spec: LTX2Text) -> None:
        from diffusers.pipelines.ltx2 import LTX2TextConnectors
        from transformers import (
            Gemma3ForConditionalGeneration,
            Gemma4UnifiedForConditionalGeneration,
        )

        super().__init__(spec.cache)
        self.spec = spec
        place = (spec.precision, spec.model)
        gemma = transformers_model(
            saved_model_class(
                (Gemma3ForConditionalGeneration, Gemma4UnifiedForConditionalGeneration),
                spec.config,
                spec.model,
                spec.subfolder,
                spec.revision,
            ),
            GEMMA,
            spec.config,
            *place,
            spec.subfolder,
            spec.revision,
        )
        connectors = diffusers_model(
            LTX2TextConnectors,
            {},
            spec.connectors_config,
            *place,
            spec.connectors_subfolder,
            spec.revision,
        )
        self.frozen = Frozen(gemma, connectors)
        self.widths = _widths(gemma.config.text_config, connectors.config, spec.length)
        self.produces = {CONDITIONS[stream]: self.widths[stream] for stream in CONDITIONS}
        self._tokenizer = _tokenizer(spec) if self.frozen.device.type != "meta" else None

    @torch.no_grad()
    def forward(self, prompts: Sequence[Prompt]) -> dict[str, Condition]:
        """{condition: tokens float32 [B, length, width], mask [B, length]}."""
        rows, null = self._rows(self.spec.text, prompts, self.spec.negative.strip(), str.strip)
        video, audio, (mask, no_mask) = (
            batched([row[k] for row in rows], null[k]) for k in range(3)
        )
        return {
            CONDITIONS[stream]: Condition(tokens, mask, Condition(no_tokens, no_mask))
            for stream, (tokens, no_tokens) in zip(STREAMS, (video, audio), strict=True)
        }

    def _encoded(self, text: str) -> Encoded:
        """Tokens float32 [length, width] of either stream, and mask bool [length]."""
        device, length = self.frozen.device, self.spec.length
        if self._tokenizer is None:  # on the meta device: only shapes
            video, audio = (
                torch.empty(length, width, device=device)
                for width in (self.widths["video"], self.widths["audio"])
            )
            return video, audio, torch.empty(length, dtype=torch.bool, device=device)
        filled = self._tokenizer(
            [text], padding="max_length", max_length=length, truncation=True, return_tensors="pt"
        ).to(device)
        if filled.attention_mask.all() and not self._warned:
            self._warned = warn_if_cut("ltx2-text", self._tokenizer, text, length)
        gemma, connectors = self.frozen.models
        # without the head, which would compute 262,208 logits for each token
        states = gemma.model(
            input_ids=filled.input_ids,
            attention_mask=filled.attention_mask,
            output_hidden_states=True,
        ).hidden_states
        video, audio, mask = connectors(
            torch.stack(states, dim=-1), filled.attention_mask, padding_side="left"
        )
        return video[0].float(), audio[0].float(), mask[0].bool()


def _widths(gemma: Any, connectors: Any, length: int) -> AV[int]:
    """Width of each stream's tokens. Raises ValueError if models or length don't match."""
    states = (gemma.num_hidden_layers + 1, gemma.hidden_size)
    expected = (connectors.text_proj_in_factor, connectors.caption_channels)
    if states != expected:
        raise ValueError(
            f"the text model has {states[0]} states (embedding and layers) of width {states[1]},"
            f" but the connectors expect {expected[0]} of width {expected[1]}: they belong to"
            " another text model"
        )
    for stream in CONDITIONS:
        registers = getattr(connectors, f"{stream}_connector_num_learnable_registers")
        if registers and length % registers:
            raise ValueError(
                f"length {length} is not a multiple of {registers}, the learned tokens of the"
                f" {stream} connector"
            )
    return AV(
        connectors.video_connector_num_attention_heads
        * connectors.video_connector_attention_head_dim,
        connectors.audio_connector_num_attention_heads
        * connectors.audio_connector_attention_head_dim,
    )


def _tokenizer(spec: LTX2Text) -> Any:
    tokenizer = load_tokenizer(spec)
    tokenizer.padding_side = "left"  # as in Gemma's training; the connectors rely on it
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer
