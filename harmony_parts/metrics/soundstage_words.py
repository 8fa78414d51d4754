"""Words that are heard, against those that should be said, in Soundstage's two languages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import torch
from torchaudio.functional import edit_distance

from harmony_parts.av import AV, Event
from harmony_parts.media.clip import Clip
from harmony_parts.metrics.protocol import Reference
from harmony_parts.metrics.soundstage_speech import Heard, listen, load_net
from harmony_parts.metrics.words import text_of, words_of


@attrs.frozen
class SoundstageWords:
    """Edit distance of the heard words from `reference.transcript`, over its length.

    `word_error` (of `words`) and `character_error` (of `characters`); means over clips are weighted
    by these lengths. `words_heard` counts them. A small recogniser that ships knows the 50 words of
    Soundstage, and hears the likeliest of these in any sound: other speech needs `transcription` of
    the plugin harmony-metrics-speech. With a transcript, silence is an error of 1. No error is
    given without a transcript, or for one with another word.
    """

    reads: tuple[str, ...] = attrs.field(default=("audio",), init=False, repr=False)

    def build(self, *, device: torch.device | str = "cpu") -> SoundstageWords:
        """This object; its network works on the CPU, a clip in some milliseconds."""
        load_net()
        return self

    def analyse(self, clip: Clip) -> AV[Heard]:
        """The words that are heard, and the voice."""
        return AV(video=None, audio=None if clip.waveform is None else listen(clip))

    def score(
        self,
        video: Any,
        audio: Heard,
        truth: Sequence[Event] | None = None,
        reference: Reference | None = None,
    ) -> dict[str, float]:
        """The numbers that are defined: nothing for silence without a transcript."""
        heard = {} if audio.reason else {"words_heard": float(len(audio.words))}
        said = words_of((reference and reference.transcript) or "")
        if not said:
            return heard
        text = text_of(said)
        return heard | {
            "words": float(len(said)),
            "word_error": edit_distance(said, audio.words) / len(said),
            "characters": float(len(text)),
            "character_error": edit_distance(text, text_of(audio.words)) / len(text),
        }

    def reason(self, video: Any, audio: Heard, reference: Reference | None = None) -> str:
        """Why it can't tell the errors, in words; empty if it can."""
        if reference is None or not reference.transcript:
            return audio.reason or "there is no transcript to compare with"
        if words_of(reference.transcript) is None:
            return "the transcript has words that Soundstage doesn't know"
        return ""

    def weights(self, numbers: dict[str, float]) -> dict[str, float]:
        """The length of the transcript, for errors."""
        weighed = {"word_error": "words", "character_error": "characters"}
        return {name: numbers[by] for name, by in weighed.items() if name in numbers}
