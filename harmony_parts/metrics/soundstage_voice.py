"""Whose voice is heard, of Soundstage's six, against the reference audio's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import attrs
import torch

from harmony_parts.av import AV, Event
from harmony_parts.media.clip import Clip
from harmony_parts.metrics.protocol import Reference
from harmony_parts.metrics.soundstage_speech import Heard, listen, load_net

# chance scores each sound with all references, which are heard once
_VOICES: WeakKeyDictionary[Clip, str | None] = WeakKeyDictionary()


@attrs.frozen
class SoundstageVoice:
    """`right_voice`: 1 if a classifier names the same voice in the clip as in `reference.voice`.

    A small classifier that ships knows the six voices of Soundstage and names one of them for any
    voice: the likeness of other people needs `voice-likeness` of the plugin harmony-metrics-speech.
    A clip without a voice is wrong. Nothing is given without a voice in the reference, or if its
    transcript is of two speakers (two lines).
    """

    reads: tuple[str, ...] = attrs.field(default=("audio",), init=False, repr=False)

    def build(self, *, device: torch.device | str = "cpu") -> SoundstageVoice:
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
        """`voiced`, whether there is a voice, and `right_voice`."""
        numbers = {} if audio.reason else {"voiced": float(audio.voice is not None)}
        wanted = _voice_of(reference)
        right = {} if wanted is None else {"right_voice": float(audio.voice == wanted)}
        return numbers | right

    def reason(self, video: Any, audio: Heard, reference: Reference | None = None) -> str:
        """Why it can't tell whether the voice is right, in words; empty if it can."""
        if _voice_of(reference) is not None:
            return ""
        if reference is None or reference.voice is None:
            return "there is no reference audio to compare with"
        if "\n" in (reference.transcript or ""):
            return "the transcript is of two speakers"
        return "there is no voice in the reference audio"


def _voice_of(reference: Reference | None) -> str | None:
    """The voice of a reference with a single speaker."""
    voice = None if reference is None else reference.voice
    if reference is None or voice is None or "\n" in (reference.transcript or ""):
        return None
    if voice not in _VOICES:
        _VOICES[voice] = None if voice.waveform is None else listen(voice).voice
    return _VOICES[voice]
