"""What a recogniser hears, against what should be said."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import attrs
import numpy as np
import torch

from harmony_metrics_speech.library import JIWER, PYPINYIN
from harmony_metrics_speech.sound import SoundMetric
from harmony_metrics_speech.words import errors
from harmony_parts.errors import BrokenPart
from harmony_parts.metrics.protocol import Metric, Reference
from harmony_parts.plugin import knob

Recogniser = Callable[[np.ndarray], str]
"""From float32 [samples] at 16 kHz, -1..1, to text."""


@attrs.frozen
class Transcription:
    """Edit distance of what a recogniser hears from `reference.transcript`, over its length.

    `word_error` (of `words`) and `character_error` (of `characters`) by jiwer, and for Chinese
    `pinyin_error` (of `syllables`) instead of words; means over clips are weighted by these
    lengths. Case, punctuation and width don't count. No recogniser ships: an error is that of the
    voice and of the recogniser together, so compare with the error on real recordings.
    """

    recogniser: str = knob(
        help='"module:callable", from float32 [samples] at 16 kHz to text, or a folder of Whisper',
        validator=attrs.validators.min_len(1),
    )
    language: str = knob("", help='what Whisper hears, such as "en"', off="")

    def build(self, *, device: torch.device | str = "cpu") -> Metric:
        """The metric. Raises BrokenPart without jiwer, pypinyin or the recogniser."""
        jiwer, pypinyin = JIWER.load(), PYPINYIN.load()
        recognise = make_recogniser(self.recogniser, self.language, device)

        def numbers(heard: str, reference: Reference) -> dict[str, float]:
            return errors(reference.transcript or "", heard, jiwer, pypinyin)

        return SoundMetric(
            self,
            JIWER,
            recognise,
            numbers,
            {
                "word_error": "words",
                "character_error": "characters",
                "pinyin_error": "syllables",
            },
            needs="transcript",
        )


def make_recogniser(name: str, language: str, device: torch.device | str) -> Recogniser:
    """The callable of "module:callable", or Whisper of a folder. Raises BrokenPart."""
    if Path(name).is_dir():
        from harmony_metrics_speech.whisper import whisper

        return whisper(Path(name), language, device)
    module, _, attribute = name.partition(":")
    try:
        found: Recogniser = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise BrokenPart(
            f"recogniser: {name!r} is neither a folder nor a callable that can be imported as"
            f' "module:callable": {error}'
        ) from error
    return found
