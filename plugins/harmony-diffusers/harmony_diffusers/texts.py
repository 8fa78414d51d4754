"""What the text encoders share: pieces of texts, tokenizers, and encoding text by text."""

from __future__ import annotations

import html
import warnings
from collections import OrderedDict
from collections.abc import Callable, Sequence
from string import Formatter
from typing import Any, Generic, Self, TypeVar

import torch
from attrs.validators import ge
from torch import Tensor

from harmony_diffusers.frozen import FrozenModule, transformers_tokenizer
from harmony_parts.av import Prompt
from harmony_parts.plugin import knob

FIELDS = ("caption", "sound", "speech")
BYTES = "bytes"
T = TypeVar("T")


def tokenizer_knob() -> Any:
    """The knob of the tokenizer."""
    return knob(
        "",
        help=(
            f'a folder with the tokenizer, its name on the Hub, or "{BYTES}" for UTF-8 bytes; empty'
            " for that of `model`, or for bytes with a `config`"
        ),
    )


def cache_knob(default: int) -> Any:
    """The knob of the number of cached texts."""
    return knob(
        default,
        help="number of most recent texts whose tokens are cached in memory",
        unit="texts",
        off=0,
        validator=ge(0),
    )


def pieces_knob(default: Sequence[str], source: str) -> Any:
    """The knob of the pieces that a text is made of."""
    return knob(
        tuple(default),
        help="pieces of the text, with {caption}, {sound} and {speech} for the prompt's fields",
        source=source,
        converter=lambda pieces: (pieces,) if isinstance(pieces, str) else tuple(pieces),
        validator=lambda spec, field, pieces: check_pieces(field.name, pieces),
    )


def length_knob(default: int, source: str, padding: str = "") -> Any:
    """The knob of the number of tokens; `padding` says what shorter texts are padded with."""
    return knob(
        default,
        help=f"tokens of every text: longer ones are cut, shorter ones padded{padding}",
        unit="tokens",
        source=source,
        validator=ge(1),
    )


def load_tokenizer(spec: Any) -> Any:
    """The tokenizer of a spec with `tokenizer`, `tokenizer_subfolder`, `model` and `revision`.

    Raises ValueError if it can't be loaded.
    """
    from transformers import AutoTokenizer, ByT5Tokenizer

    if spec.tokenizer == BYTES or (spec.config and not spec.tokenizer):
        return ByT5Tokenizer()
    return transformers_tokenizer(
        AutoTokenizer, spec.tokenizer or spec.model, spec.tokenizer_subfolder, spec.revision
    )


def cleaned(text: str) -> str:
    """The text without HTML entities, which may be escaped twice, and with single spaces."""
    return " ".join(html.unescape(html.unescape(text)).split())


class TextCache(Generic[T]):
    """`encode` of a text, with the results of the last `size` texts cached."""

    def __init__(self, size: int, encode: Callable[[str], T]) -> None:
        self._size, self._encode = size, encode
        self._results: OrderedDict[str, T] = OrderedDict()

    def __call__(self, text: str) -> T:
        """The result for a text."""
        found = self._results.pop(text, None)
        if found is None:
            found = self._encode(text)
        self._results[text] = found
        while len(self._results) > self._size:
            self._results.popitem(last=False)
        return found

    def __len__(self) -> int:
        return len(self._results)

    def clear(self) -> None:
        """Drop all results, for example after the weights moved to another device."""
        self._results.clear()


class TextEncoder(FrozenModule, Generic[T]):
    """An encoder that encodes each text by itself, so that a text doesn't depend on its batch.

    The results of the last `cache` texts are cached, until the weights are moved.
    """

    def __init__(self, cache: int) -> None:
        super().__init__()
        self._cache = TextCache(cache, self._encoded)
        self._warned = False  # of a cut text; once, since in training many may be too long

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)
        self._cache.clear()
        return self

    def _encoded(self, text: str) -> T:
        """The result for one text."""
        raise NotImplementedError

    def _rows(
        self,
        pieces: Sequence[str],
        prompts: Sequence[Prompt],
        negative: str,
        clean: Callable[[str], str] = cleaned,
    ) -> tuple[list[T], T]:
        """The result for each prompt's text, and that of `negative`, which a prompt without any of
        the pieces' fields gets.
        """
        null = self._cache(negative)
        texts = [text_of(pieces, prompt, clean) for prompt in prompts]
        return [null if text is None else self._cache(text) for text in texts], null


def batched(rows: Sequence[Tensor], null: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and null form, all of one shape [...] -> both as batches [B, ...], B may be 0."""
    made = torch.stack(list(rows)) if rows else null.new_empty(0, *null.shape)
    return made, null.expand_as(made)


def warn_if_cut(part: str, tokenizer: Any, text: str, length: int) -> bool:
    """Warn if a text has more tokens than `length`, the setting of `part`; whether it has."""
    # not verbose, or the tokenizer adds a warning about indexing errors
    tokens = len(tokenizer(text, verbose=False).input_ids)
    if tokens > length:
        warnings.warn(
            f"a text of {tokens} tokens ({text[:40]!r} ...) is cut after {length}, like all longer"
            f" ones; raise {part}'s setting `length` to read more",
            UserWarning,
            stacklevel=2,
        )
    return tokens > length


def check_pieces(name: str, pieces: Sequence[str]) -> None:
    """Raise ValueError unless the pieces of a text read fields of a prompt, and nothing else."""
    try:
        fields = set().union(*map(_fields, pieces))
    except ValueError:  # an unmatched brace
        fields = set()
    if not fields or not fields <= set(FIELDS):
        must = f"must read at least one of {{{'}, {'.join(FIELDS)}}}, and nothing else in braces"
        raise ValueError(f"{name} {must}, not {list(pieces)}")


def text_of(
    pieces: Sequence[str], prompt: Prompt, clean: Callable[[str], str] = cleaned
) -> str | None:
    """The pieces whose fields the prompt has, joined with spaces and cleaned; `None` if it has
    none of the fields.
    """
    fields = {
        field: text.strip() for field in FIELDS if cleaned(text := getattr(prompt, field) or "")
    }
    filled = [piece for piece in pieces if _fields(piece) <= set(fields)]
    if not any(map(_fields, filled)):
        return None
    return clean(" ".join(piece.format(**fields) for piece in filled))


def _fields(piece: str) -> set[str]:
    return {field for _, field, _, _ in Formatter().parse(piece) if field is not None}
