"""Texts as Cosmos3-Omni reads them: the numbers of their tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from harmony_diffusers.frozen import (
    model_knob,
    on_meta,
    revision_knob,
    subfolder_knob,
    transformers_tokenizer,
)
from harmony_diffusers.texts import BYTES, length_knob, pieces_knob, text_of, tokenizer_knob
from harmony_parts.av import AV, Condition, Format, Prompt
from harmony_parts.codecs.protocol import AudioCodec, VideoCodec
from harmony_parts.errors import warn_caller
from harmony_parts.plugin import knob

PIPELINE = "Cosmos3OmniPipeline"
START = "<|vision_start|>"
"""The token before the latents."""


@attrs.frozen
class Cosmos3Text:
    """The tokenizer of Cosmos3-Omni: one text -> the condition "caption", [B, L, 1].

    A token is its number in the vocabulary; the transformer has its embedding, and reads a text
    before the latents. A text is made of the pieces whose field a prompt has, joined with spaces,
    and a sentence about the format's length and size; a prompt without any of them gets the null
    form, the tokens of `negative` and of the opposite sentence. It is put into the tokenizer's
    template for a conversation, after the instruction `system`. There are no weights.
    Source: diffusers' Cosmos3OmniPipeline.
    """

    model: str = model_knob("")
    subfolder: str = subfolder_knob("text_tokenizer", "tokenizer")
    revision: str = revision_knob()
    tokenizer: str = tokenizer_knob()
    text: tuple[str, ...] = pieces_knob(
        ("{caption}", "{sound}", '"{speech}"'), source="one text for both streams"
    )
    negative: str = knob("", help="text of the null form", off="")
    system: str = knob(
        "You are a helpful assistant who will generate videos from a give prompt.",
        help="the instruction before each text; empty: none",
        off="",
        source=f"{PIPELINE}, word for word",
    )
    about: str = knob(
        "The video is {seconds:.1f} seconds long and is of {fps:.0f} FPS."
        " This video is of {height}x{width} resolution.",
        help="what is said of the format after each text",
        off="",
        source=PIPELINE,
    )
    not_about: str = knob(
        "The video is not {seconds:.1f} seconds long and is not of {fps:.0f} FPS."
        " This video is not of {height}x{width} resolution.",
        help="the same after `negative`",
        off="",
        source=PIPELINE,
    )
    length: int = length_knob(1024, source="none; longer texts take more memory")

    def build(self, *, format: Format, codecs: AV[VideoCodec | AudioCodec]) -> Cosmos3TextEncoder:
        """The encoder, which doesn't use the codecs.

        Raises ValueError if the tokenizer can't be loaded.
        """
        return Cosmos3TextEncoder(self, format)


class Cosmos3TextEncoder(nn.Module):
    """The encoder of `Cosmos3Text`."""

    produces: Mapping[str, int] = {"caption": 1}
    here: Tensor

    def __init__(self, spec: Cosmos3Text, format: Format) -> None:
        super().__init__()
        self.spec = spec
        self.register_buffer("here", torch.empty(0), persistent=False)
        self._tokenizer = None if on_meta() else _tokenizer(spec)
        said = {
            "seconds": format.frames / float(format.fps),
            "fps": float(format.fps),
            "height": format.height,
            "width": format.width,
        }
        self._about, self._not = (each.format(**said) for each in (spec.about, spec.not_about))

    def forward(self, prompts: Sequence[Prompt]) -> dict[str, Condition]:
        """{"caption": float32 [B, L, 1], mask [B, L]}, L that of the longest of these texts."""
        device = self.here.device
        if self._tokenizer is None:  # on the meta device: only shapes
            tokens = torch.empty(len(prompts), self.spec.length, 1, device=device)
            mask = torch.empty(len(prompts), self.spec.length, dtype=torch.bool, device=device)
            return {"caption": Condition(tokens, mask, Condition(tokens, mask))}
        null = self._ids(_joined(self.spec.negative.strip(), self._not))
        texts = [text_of(self.spec.text, prompt, str.strip) for prompt in prompts]
        rows = [null if text is None else self._ids(_joined(text, self._about)) for text in texts]
        longest = max(map(len, (null, *rows)))
        tokens, mask = _padded(rows, longest, device)
        no_tokens, no_mask = _padded([null] * len(rows), longest, device)
        return {"caption": Condition(tokens, mask, Condition(no_tokens, no_mask))}

    def _ids(self, text: str) -> list[int]:
        """The numbers of the tokens of a conversation that asks for `text`."""
        talk = [{"role": "system", "content": self.spec.system}] if self.spec.system else []
        tokenizer: Any = self._tokenizer
        ids = list(
            tokenizer.apply_chat_template(
                [*talk, {"role": "user", "content": text}],
                tokenize=True,
                add_generation_prompt=True,
                add_vision_id=False,
                return_dict=True,
            ).input_ids
        )
        room = self.spec.length - 2
        if len(ids) > room:
            warn_caller(
                f"a text of {len(ids)} tokens ({text[:40]!r} ...) is cut after {room}; raise"
                " cosmos3-text's setting `length` to read more"
            )
        return [*ids[:room], tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids(START)]


def _joined(text: str, about: str) -> str:
    text = text.rstrip(".")
    return ". ".join(each for each in (text, about) if each)


def _padded(rows: Sequence[list[int]], length: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Numbers as float32 [B, length, 1], exact up to 2^24, and mask [B, length]."""
    tokens = torch.zeros(len(rows), length, 1, device=device)
    mask = torch.zeros(len(rows), length, dtype=torch.bool, device=device)
    for n, row in enumerate(rows):
        tokens[n, : len(row), 0] = torch.tensor(row, dtype=torch.float32)
        mask[n, : len(row)] = True
    return tokens, mask


def _tokenizer(spec: Cosmos3Text) -> Any:
    from transformers import AutoTokenizer, ByT5Tokenizer

    if spec.tokenizer != BYTES:
        place = (spec.tokenizer or spec.model, spec.subfolder, spec.revision)
        found = transformers_tokenizer(AutoTokenizer, *place)
        if found.chat_template is None or START not in found.get_vocab():
            raise ValueError(
                f"tokenizer {place[0]!r} is not that of Cosmos3-Omni: it lacks a template for"
                f" conversations, or the token {START}"
            )
        return found
    made = ByT5Tokenizer()
    made.add_tokens([START])
    made.chat_template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    return made
