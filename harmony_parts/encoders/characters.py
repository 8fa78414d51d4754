"""Characters of a transcript, and pinyin for Chinese, as F5-TTS reads them (arXiv:2410.06885).

Latin letters, digits and punctuation are tokens as they are. A Chinese character becomes a space
and its syllable in pinyin with a digit for its tone ("ni3"; none is the neutral tone), chosen by
the phrase that it stands in, after tone sandhi. F5-TTS cuts texts into words by jieba first; here
pypinyin's own phrases decide how a character with several readings is read.

F5-TTS has a file of 2,545 tokens that occur in its data. Here an id is computed: 0 is the filler, 1
any character that is neither Latin nor Chinese, then the characters below U+0250, then each initial
with each final and tone, also those that no word has.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from typing import Any

from harmony_parts.encoders.text_ids import FILLER
from harmony_parts.errors import RequestError

UNKNOWN, LATIN = 1, 0x250
INITIALS = (
    *("", "b", "p", "m", "f", "d", "t", "n", "l", "g", "k", "h", "j", "q", "x"),
    *("zh", "ch", "sh", "r", "z", "c", "s", "y", "w"),
)
FINALS = (
    *("a", "ai", "an", "ang", "ao", "e", "ei", "en", "eng", "er"),
    *("i", "ia", "ian", "iang", "iao", "ie", "in", "ing", "iong", "iu"),
    *("o", "ong", "ou", "u", "ua", "uai", "uan", "uang", "ue", "ui", "un", "uo", "v", "ve"),
)
TONES = 5
COUNT = 2 + LATIN + len(INITIALS) * len(FINALS) * TONES
CHINESE = re.compile("[\u3400-\u9fff\U00020000-\U0003ffff]+")
SYLLABLE = re.compile("(zh|ch|sh|[bpmfdtnlgkhjqxrzcsyw]?)([aeiouv][a-z]*)([1-4]?)")
LATIN_FORMS = str.maketrans("“”‘’；，。！？：、（）…", "\"\"'',,.!?:,().")


def character_ids(text: str | None, length: int) -> list[int]:
    """The ids of a text's first `length` characters. Raises RequestError if pypinyin is needed."""
    return [token_id(token) for token in tokens_of((text or "")[:length])] or [FILLER]


def tokens_of(text: str) -> list[str]:
    """A text as characters and syllables, with a space before each syllable and each word that
    follows Chinese.
    """
    tokens: list[str] = []
    for run, chinese in _runs(text.translate(LATIN_FORMS)):
        if chinese:
            for syllable in _pinyin(run):
                tokens += [" ", syllable]
        else:
            if len(run) > 1 and tokens and run[0].isalnum():
                tokens.append(" ")
            tokens += run
    return tokens


def token_id(token: str) -> int:
    """The id of a character or of a syllable."""
    if len(token) == 1 and ord(token) < LATIN and not CHINESE.match(token):
        return 2 + ord(token)
    match = SYLLABLE.fullmatch(token)
    if match is None or match[2] not in FINALS:
        return UNKNOWN
    sound = INITIALS.index(match[1]) * len(FINALS) + FINALS.index(match[2])
    return 2 + LATIN + sound * TONES + int(match[3] or 0)


def _runs(text: str) -> Iterator[tuple[str, bool]]:
    """The text in runs, and whether each is of Chinese characters."""
    at = 0
    for match in CHINESE.finditer(text):
        if match.start() > at:
            yield text[at : match.start()], False
        yield match[0], True
        at = match.end()
    if at < len(text):
        yield text[at:], False


def _pinyin(run: str) -> list[str]:
    """The syllables of Chinese characters; one without a reading, or like "ng", is itself."""
    try:
        pypinyin: Any = importlib.import_module("pypinyin")
    except ImportError as error:
        raise RequestError(
            f"the transcript {run[:20]!r} is Chinese, and reading it needs the package pypinyin:"
            " pip install 'harmony-parts[pinyin]' (or set the encoder's `units` to \"bytes\")"
        ) from error
    return list(
        pypinyin.lazy_pinyin(
            run, style=pypinyin.Style.TONE3, tone_sandhi=True, errors=lambda text: list(text)
        )
    )
