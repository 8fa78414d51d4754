"""Texts as LTX-2 reads them: all layers of a frozen Gemma 3, and LTX-2's connectors, one for each
stream.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import attrs
import torch
from torch import Tensor

from harmony_diffusers.frozen import (
    Frozen,
    FrozenModule,
    Precision,
    config_knob,
    diffusers_model,
    model_knob,
    precision_knob,
    revision_knob,
    subfolder_knob,
    transformers_model,
    transformers_tokenizer,
)
from harmony_diffusers.umt5 import BYTES, check_pieces, text_of, warn_of_cut
from harmony_parts.av import AV, Condition, Format, Prompt
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
"""The form of Gemma 3 12B, for counting without weights."""

Told = tuple[Tensor, Tensor, Tensor]
"""What the connectors make of a text: tokens for the video, for the audio, and which of them
count.
"""


@attrs.frozen
class LTX2Text:
    """Frozen Gemma 3 and LTX-2's connectors: one text -> conditions "caption" and "sound", each [B,
    length, width], for the two streams.

    A text is padded on the left to `length`; the states of all layers of Gemma go through the
    connectors, which put learned tokens where there is no text, so that all tokens count. A text is
    made of the pieces whose field a prompt has, joined with blanks; a prompt that has none of them
    gets the null form, the tokens of `negative`. Each text is encoded by itself, so that it doesn't
    depend on its batch. Source: arXiv:2601.03233, as LTX2Pipeline of diffusers has it. Gemma 3 12B
    is 12.2 G numbers (24 GB in bfloat16) under Google's Gemma Terms of Use, the connectors are 1.4
    G under the LTX-2 Community License: read both before use.
    """

    model: str = model_knob("Lightricks/LTX-2")
    subfolder: str = subfolder_knob("text_encoder", "Gemma 3")
    connectors_subfolder: str = subfolder_knob("connectors", "connectors")
    revision: str = revision_knob()
    config: dict[str, Any] = config_knob("transformers.Gemma3Config")
    connectors_config: dict[str, Any] = config_knob("diffusers.pipelines.ltx2.LTX2TextConnectors")
    precision: Precision = precision_knob("bfloat16")
    tokenizer: str = knob(
        "",
        help=(
            f'a folder with the tokenizer, its name on the Hub, or "{BYTES}" for UTF-8 bytes;'
            " empty: that of `model`, or bytes with a config"
        ),
    )
    tokenizer_subfolder: str = subfolder_knob("tokenizer", "tokenizer")
    text: tuple[str, ...] = knob(
        ("{caption}", "{sound}", '"{speech}"'),
        help="pieces of the text, with {caption}, {sound} and {speech} for fields of the prompt",
        source=(
            "LTX-2 has one text for both streams, in which what is said stands in quotation marks"
        ),
        converter=lambda pieces: (pieces,) if isinstance(pieces, str) else tuple(pieces),
        validator=lambda spec, field, pieces: check_pieces(field.name, pieces),
    )
    negative: str = knob("", help="text of the null form", off="")
    length: int = knob(
        1024,
        help="tokens of every text: longer ones are cut, shorter ones filled up",
        unit="tokens",
        source="LTX2Pipeline",
        validator=attrs.validators.ge(1),
    )
    cache: int = knob(
        16,
        help="how many of the last texts' tokens are kept in memory",
        unit="texts",
        off=0,
        validator=attrs.validators.ge(0),
    )

    def __attrs_post_init__(self) -> None:
        if bool(self.config) != bool(self.connectors_config):
            raise ValueError(
                "config and connectors_config go together: give both, for random weights, or"
                " neither"
            )

    def build(self, *, format: Format, codecs: AV[VideoCodec | AudioCodec]) -> LTX2TextEncoder:
        """The encoder; neither format nor codecs matter to it. Raises ValueError where weights
        can't be had, or don't fit each other.
        """
        return LTX2TextEncoder(self)


class LTX2TextEncoder(FrozenModule):
    """See `LTX2Text`."""

    produces: Mapping[str, int]

    def __init__(self, spec: LTX2Text) -> None:
        from diffusers.pipelines.ltx2 import LTX2TextConnectors
        from transformers import Gemma3ForConditionalGeneration

        super().__init__()
        self.spec = spec
        place = (spec.precision, spec.model)
        gemma = transformers_model(
            Gemma3ForConditionalGeneration,
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
        self._kept: OrderedDict[str, Told] = OrderedDict()
        self._warned = False

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)
        self._kept.clear()
        return self

    @torch.no_grad()
    def forward(self, prompts: Sequence[Prompt]) -> dict[str, Condition]:
        """{condition: tokens float32 [B, length, width], mask [B, length]}."""
        null = self._told(self.spec.negative.strip())
        texts = [text_of(self.spec.text, prompt, str.strip) for prompt in prompts]
        rows = [null if text is None else self._told(text) for text in texts]
        nulls = [null] * len(rows)
        return {
            CONDITIONS[stream]: Condition(
                *self._stacked(rows, k), Condition(*self._stacked(nulls, k))
            )
            for k, stream in enumerate(CONDITIONS)
        }

    def _stacked(self, rows: Sequence[Told], stream: int) -> tuple[Tensor, Tensor]:
        if not rows:
            device = self.frozen.device
            width = self.widths[tuple(CONDITIONS)[stream]]
            return torch.zeros(0, self.spec.length, width, device=device), torch.zeros(
                0, self.spec.length, dtype=torch.bool, device=device
            )
        return torch.stack([row[stream] for row in rows]), torch.stack([row[2] for row in rows])

    def _told(self, text: str) -> Told:
        """What the connectors make of it, float32 [length, width] twice, and bool [length]."""
        found = self._kept.pop(text, None)
        if found is None:
            found = self._encoded(text)
        self._kept[text] = found
        while len(self._kept) > self.spec.cache:
            self._kept.popitem(last=False)
        return found

    def _encoded(self, text: str) -> Told:
        device, length = self.frozen.device, self.spec.length
        if self._tokenizer is None:  # on the meta device: shapes only
            video, audio = (
                torch.empty(length, width, device=device)
                for width in (self.widths["video"], self.widths["audio"])
            )
            return video, audio, torch.empty(length, dtype=torch.bool, device=device)
        filled = self._tokenizer(
            [text], padding="max_length", max_length=length, truncation=True, return_tensors="pt"
        ).to(device)
        if filled.attention_mask.all() and not self._warned:
            self._warned = warn_of_cut("ltx2-text", self._tokenizer, text, length)
        gemma, connectors = self.frozen.models
        # without the head, which would make 262 208 numbers of each token
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
    """Width of each stream's tokens. Raises ValueError where the two models, or the length, don't
    fit.
    """
    made, wanted = (
        (gemma.hidden_size, gemma.num_hidden_layers + 1),
        (
            connectors.caption_channels,
            connectors.text_proj_in_factor,
        ),
    )
    if made != wanted:
        raise ValueError(
            f"the text model has {made[1]} states (its layers and its embedding) of {made[0]}"
            f" numbers, but the connectors take {wanted[1]} of {wanted[0]}: they belong to another"
            " text model"
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
    from transformers import AutoTokenizer, ByT5Tokenizer

    if spec.tokenizer == BYTES or (spec.config and not spec.tokenizer):
        made = ByT5Tokenizer()
    else:
        made = transformers_tokenizer(
            AutoTokenizer, spec.tokenizer or spec.model, spec.tokenizer_subfolder, spec.revision
        )
    made.padding_side = "left"  # as Gemma was told of chats, and the connectors count on it
    if made.pad_token is None:
        made.pad_token = made.eos_token
    return made
