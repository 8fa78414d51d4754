"""Texts by a frozen UMT5, through transformers, in the form in which Wan and Ovi read them."""

from __future__ import annotations

import html
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from string import Formatter
from typing import Any, Self

import attrs
import torch
from torch import Tensor
from torch.nn.functional import pad

from harmony_diffusers.frozen import (
    Frozen,
    FrozenModule,
    Precision,
    config_knob,
    model_knob,
    precision_knob,
    revision_knob,
    subfolder_knob,
    transformers_model,
    transformers_tokenizer,
)
from harmony_parts.av import AV, Condition, Format, Prompt
from harmony_parts.codecs.protocol import AudioCodec, VideoCodec
from harmony_parts.plugin import knob

FIELDS = ("caption", "sound", "speech")
BYTES = "bytes"

XXL: dict[str, Any] = {
    "vocab_size": 256384,
    "d_model": 4096,
    "d_kv": 64,
    "d_ff": 10240,
    "num_layers": 24,
    "num_heads": 64,
    "feed_forward_proj": "gated-gelu",
}
"""The form of google/umt5-xxl, 5.7 G parameters in its encoder, for counting without weights."""


def _fields(piece: str) -> set[str]:
    return {field for _, field, _, _ in Formatter().parse(piece) if field is not None}


@attrs.frozen
class UMT5:
    """Frozen UMT5 encoder: each condition's text -> tokens [B, length, 4096], zero after the text's
    end, with a mask that is all True.

    Wan and Ovi attend to the zeros, so they aren't masked. Text is cleaned as they do (HTML
    entities, white space; ftfy isn't used). A condition's text is made of pieces, joined with
    blanks, without those whose field a prompt doesn't have or leaves empty; where no field is left,
    it has the null form: the tokens of `negative`. Each text is encoded by itself, so that it
    doesn't depend on its batch. Source: arXiv:2304.09151; as Wan uses it, arXiv:2503.20314. The
    weights of UMT5 are Apache-2.0: 5.7 G numbers, 11 GB in bfloat16.
    """

    model: str = model_knob("Wan-AI/Wan2.2-TI2V-5B-Diffusers")
    subfolder: str = subfolder_knob("text_encoder", "encoder")
    revision: str = revision_knob()
    config: dict[str, Any] = config_knob("transformers.UMT5Config")
    precision: Precision = precision_knob("bfloat16")
    tokenizer: str = knob(
        "",
        help=(
            f'a folder with the tokenizer, its name on the Hub, or "{BYTES}" for UTF-8 bytes;'
            " empty: that of `model`, or bytes with a config"
        ),
    )
    tokenizer_subfolder: str = subfolder_knob("tokenizer", "tokenizer")
    conditions: dict[str, tuple[str, ...]] = knob(
        {"caption": ("{caption}",)},
        help=(
            "condition -> pieces of its text, with {caption}, {sound} and {speech} for fields of"
            " the prompt"
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
        help="condition -> text of its null form; empty where none is given",
        off={},
        converter=dict,
    )
    length: int = knob(
        512,
        help="tokens of every text: longer ones are cut, shorter ones followed by zeros",
        unit="tokens",
        source="Wan, Ovi: 512",
        validator=attrs.validators.ge(1),
    )
    cache: int = knob(
        256,
        help="how many of the last texts' tokens are kept in memory",
        unit="texts",
        off=0,
        validator=attrs.validators.ge(0),
    )

    @conditions.validator
    def _of_known_fields(self, attribute: object, conditions: Mapping[str, Sequence[str]]) -> None:
        if not conditions:
            raise ValueError("conditions is empty: name at least one, with the pieces of its text")
        for name, pieces in conditions.items():
            check_pieces(f"conditions.{name}", pieces)

    @negative.validator
    def _of_known_conditions(self, attribute: object, negative: Mapping[str, str]) -> None:
        if unknown := sorted(set(negative) - set(self.conditions)):
            raise ValueError(
                f"negative.{unknown[0]}: there is no such condition; there are:"
                f" {', '.join(self.conditions)}"
            )

    def build(self, *, format: Format, codecs: AV[VideoCodec | AudioCodec]) -> UMT5Encoder:
        """The encoder; neither format nor codecs matter to it. Raises ValueError where weights or
        tokenizer can't be had.
        """
        return UMT5Encoder(self)


class UMT5Encoder(FrozenModule):
    """See `UMT5`."""

    produces: Mapping[str, int]

    def __init__(self, spec: UMT5) -> None:
        from transformers import UMT5EncoderModel

        super().__init__()
        self.spec = spec
        place = (spec.model, spec.subfolder, spec.revision)
        self.frozen = Frozen(
            transformers_model(UMT5EncoderModel, XXL, spec.config, spec.precision, *place)
        )
        self.width: int = self._model.config.d_model
        self.produces = dict.fromkeys(spec.conditions, self.width)
        self._tokenizer = _tokenizer(spec) if self.frozen.device.type != "meta" else None
        self._kept: OrderedDict[str, Tensor] = OrderedDict()
        self._told = False

    @property
    def _model(self) -> Any:
        return self.frozen.models[0]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)
        self._kept.clear()
        return self

    @torch.no_grad()
    def forward(self, prompts: Sequence[Prompt]) -> dict[str, Condition]:
        """{condition: tokens float32 [B, length, width], mask [B, length]}."""
        return {name: self._condition(name, prompts) for name in self.produces}

    def _condition(self, name: str, prompts: Sequence[Prompt]) -> Condition:
        null = self._tokens(cleaned(self.spec.negative.get(name, "")))
        texts = [text_of(self.spec.conditions[name], prompt) for prompt in prompts]
        rows = [null if text is None else self._tokens(text) for text in texts]
        mask = torch.ones(len(rows), self.spec.length, dtype=torch.bool, device=null.device)
        tokens = torch.stack(rows) if rows else null.new_zeros(0, *null.shape)
        return Condition(tokens, mask, Condition(null.expand_as(tokens), mask))

    def _tokens(self, text: str) -> Tensor:
        """float32 [length, width]."""
        found = self._kept.pop(text, None)
        if found is None:
            found = self._encoded(text)
        self._kept[text] = found
        while len(self._kept) > self.spec.cache:
            self._kept.popitem(last=False)
        return pad(found, (0, 0, 0, self.spec.length - len(found)))

    def _encoded(self, text: str) -> Tensor:
        """float32 [n, width], n at most `length`."""
        if self._tokenizer is None:  # on the meta device: shapes only
            return torch.empty(self.spec.length, self.width, device=self.frozen.device)
        ids = self._tokenizer(text, truncation=True, max_length=self.spec.length).input_ids
        if len(ids) == self.spec.length and not self._told:
            # once: in training, many captions may be too long
            self._told = warn_of_cut("umt5", self._tokenizer, text, self.spec.length)
        batch = torch.tensor([ids], device=self.frozen.device)
        return (
            self._model(input_ids=batch, attention_mask=torch.ones_like(batch))
            .last_hidden_state[0]
            .float()
        )


def _tokenizer(spec: UMT5) -> Any:
    from transformers import AutoTokenizer, ByT5Tokenizer

    if spec.tokenizer == BYTES or (spec.config and not spec.tokenizer):
        return ByT5Tokenizer()
    return transformers_tokenizer(
        AutoTokenizer, spec.tokenizer or spec.model, spec.tokenizer_subfolder, spec.revision
    )


def warn_of_cut(part: str, tokenizer: Any, text: str, length: int) -> bool:
    """Whether a text has more tokens than `length`, and so somebody was warned; the setting that
    sets the limit is `part`'s.
    """
    # not verbose: it would say, beside this, that indexing fails
    tokens = len(tokenizer(text, verbose=False).input_ids)
    if tokens > length:
        said = (
            f"a text of {tokens} tokens ({text[:40]!r} ...) is cut after {length}, and so is every"
            " longer one"
        )
        warnings.warn(
            f"{said}; {part}'s setting `length` sets the limit", UserWarning, stacklevel=2
        )
    return tokens > length


def check_pieces(name: str, pieces: Sequence[str]) -> None:
    """Raises ValueError for pieces of a text that read no field of a prompt, or anything else."""
    try:
        fields = set().union(*map(_fields, pieces))
    except ValueError:  # a brace without its other one
        fields = set()
    if not fields or not fields <= set(FIELDS):
        must = f"must read {{{'}, {'.join(FIELDS)}}}, at least one, and nothing else in braces"
        raise ValueError(f"{name} {must}, not {list(pieces)}")


def cleaned(text: str) -> str:
    """Without HTML entities, which data sets have once or twice over, and with single blanks."""
    return " ".join(html.unescape(html.unescape(text)).split())


def text_of(
    pieces: Sequence[str], prompt: Prompt, clean: Callable[[str], str] = cleaned
) -> str | None:
    """The pieces whose fields the prompt has, joined with blanks and cleaned; `None` where it has
    none of them.
    """
    fields = {
        field: text.strip() for field in FIELDS if cleaned(text := getattr(prompt, field) or "")
    }
    said = [piece for piece in pieces if _fields(piece) <= set(fields)]
    if not any(map(_fields, said)):
        return None
    return clean(" ".join(piece.format(**fields) for piece in said))
