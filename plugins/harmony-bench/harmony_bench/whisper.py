"""Whisper: the words that are heard, against those that should be spoken."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence

import attrs
import jiwer
import numpy as np
import torch
from torchaudio.functional import resample
from transformers import WhisperForConditionalGeneration, WhisperProcessor
from transformers.models.whisper.english_normalizer import (
    BasicTextNormalizer,
    EnglishTextNormalizer,
)

from harmony_parts.av import AV, Event
from harmony_parts.errors import BrokenPart
from harmony_parts.media.clip import Clip
from harmony_parts.metrics.protocol import Metric, Reference
from harmony_parts.models.external_weights import describe_weights, weights_folder
from harmony_parts.plugin import knob

RATE = 16000  # Hz
SHORTEST = 0.1  # s
UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\u0e00-\u0eff]")  # kana, Han, Thai, Lao

Hear = Callable[[np.ndarray], str]
"""From float32 [samples] at 16 kHz to text."""


@attrs.frozen
class Whisper:
    """`wer`: edit distance in words between what Whisper hears and `reference.transcript`, over the
    transcript's `words`, by which means over clips are weighted.

    Both are normalised as in Whisper's paper (its appendix C): by its English normaliser (numbers,
    spelling, contractions), or if another `language` is named, by the basic one; a transcript in
    Chinese, Japanese, Thai or Lao is split into characters, whose error is `cer`, of `characters`.
    Greedy, without timestamps, the first 30 s. Harmony's paper takes Whisper-large-v3.
    """

    weights: str = knob(
        help='folder of Whisper, or a name on the Hub such as "openai/whisper-large-v3"',
        validator=attrs.validators.min_len(1),
    )
    language: str = knob("", help='what is spoken, such as "en"; Whisper guesses', off="")

    def build(self, *, device: torch.device | str = "cpu") -> Metric:
        """The metric, its network on `device`.

        Prints name, licence and sha256 of the weights on the standard error. Raises BrokenPart if
        they are absent or of another network.
        """
        folder = weights_folder(self.weights)
        try:
            processor = WhisperProcessor.from_pretrained(folder, local_files_only=True)
            network, found = WhisperForConditionalGeneration.from_pretrained(
                folder, local_files_only=True, dtype=torch.float32, output_loading_info=True
            )
        except (OSError, ValueError) as error:
            raise BrokenPart(f"{folder}: Whisper can't be read: {error}") from error
        if missing := sorted(set(found["missing_keys"]) - {"proj_out.weight"}):  # tied
            raise BrokenPart(f"{folder}: weights are missing: {', '.join(missing[:3])}")
        files = sorted(folder.glob("*.safetensors"))
        print(describe_weights(self.weights, files, "Apache-2.0"), file=sys.stderr)
        network.eval().to(device)
        chosen = {"language": self.language, "task": "transcribe"} if self.language else {}

        @torch.inference_mode()
        def hear(sound: np.ndarray) -> str:
            given = processor(sound, sampling_rate=RATE, return_tensors="pt").input_features
            tokens = network.generate(given.to(device), num_beams=1, do_sample=False, **chosen)
            return str(processor.batch_decode(tokens, skip_special_tokens=True)[0]).strip()

        spelling = getattr(processor.tokenizer, "english_spelling_normalizer", None) or {}
        return WordError(self, hear, spelling)


@attrs.frozen(eq=False)
class WordError:
    """The metric of `Whisper`. An analysis is the text that is heard; of too short sounds, None."""

    spec: Whisper
    hear: Hear
    spelling: dict[str, str] = attrs.field(factory=dict)
    reads: tuple[str, ...] = ("audio",)

    def analyse(self, clip: Clip) -> AV[tuple[str | None]]:
        """The text that is heard, in a tuple."""
        return AV(None, None if clip.waveform is None else (self._heard(clip),))

    def _heard(self, clip: Clip) -> str | None:
        sound = resample(clip.mono(), clip.sample_rate, RATE)
        return None if len(sound) < SHORTEST * RATE else self.hear(sound.numpy())

    def score(
        self,
        video: None,
        audio: tuple[str | None],
        truth: Sequence[Event] | None = None,
        reference: Reference | None = None,
    ) -> dict[str, float]:
        """`wer` and `words`, or `cer` and `characters`, if there is a transcript."""
        if self.reason(video, audio, reference):
            return {}
        assert reference is not None
        assert reference.transcript is not None
        spoken, heard = (
            self.plain(text, reference.transcript)
            for text in (reference.transcript, audio[0] or "")
        )
        names = ("cer", "characters") if UNSPACED.search(reference.transcript) else ("wer", "words")
        return dict(zip(names, (float(jiwer.wer(spoken, heard)), float(len(spoken.split())))))

    def plain(self, text: str, transcript: str) -> str:
        """A text as Whisper's paper compares it, by the writing of the transcript."""
        if UNSPACED.search(transcript):
            return BasicTextNormalizer(split_letters=True)(text).strip()
        if self.spec.language in ("", "en", "english"):
            return EnglishTextNormalizer(self.spelling)(text).strip()
        return BasicTextNormalizer()(text).strip()

    def weights(self, numbers: dict[str, float]) -> dict[str, float]:
        """An error of many words counts more than one of few."""
        by = {"wer": "words", "cer": "characters"}
        return {name: numbers[by[name]] for name in by if name in numbers}

    def reason(
        self, video: None, audio: tuple[str | None], reference: Reference | None = None
    ) -> str:
        """Why there is no number."""
        if audio[0] is None:
            return f"the sound is shorter than {SHORTEST:g} s"
        transcript = None if reference is None else reference.transcript
        if transcript is None:
            return "there is no transcript to compare with"
        words = re.search(r"\w", self.plain(transcript, transcript))
        return "" if words else "the transcript has no words"
