"""Shares of wrong words, characters and syllables."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from types import ModuleType

CHINESE = re.compile("[\u3400-\u9fff]")


def plain(text: str) -> str:
    """Text without what nobody hears: case, width, punctuation, more than one space.

    Apostrophes inside a word stay. Numbers stay as written: "two" and "2" differ.
    """
    text = unicodedata.normalize("NFKC", text).casefold().replace("\u2019", "'")
    text = re.sub(r"(?<!\w)'|'(?!\w)|[^\w\s']|_", " ", text)
    return " ".join(text.split())


def errors(
    said: str, heard: str, jiwer: ModuleType, pypinyin: ModuleType | None = None
) -> dict[str, float]:
    """Edits over the length of `said`, and that length, by name; more than 1 if much is added.

    Chinese has no spaces, so no words: its characters count, and its syllables with tones
    (`pypinyin`), by which a homophone is right. Empty if `said` has no word.
    """
    said, heard = plain(said), plain(heard)
    if not said:
        return {}
    chinese = CHINESE.search(said) is not None
    if chinese:
        said, heard = said.replace(" ", ""), heard.replace(" ", "")
    numbers = {"characters": float(len(said)), "character_error": float(jiwer.cer(said, heard))}
    if not chinese:
        words = float(len(said.split()))
        return numbers | {"words": words, "word_error": float(jiwer.wer(said, heard))}
    assert pypinyin is not None
    syllables = [_syllables(text, pypinyin) for text in (said, heard)]
    error = float(jiwer.wer(*(" ".join(each) for each in syllables)))
    return numbers | {"syllables": float(len(syllables[0])), "pinyin_error": error}


def _syllables(text: str, pypinyin: ModuleType) -> Sequence[str]:
    return pypinyin.lazy_pinyin(text, style=pypinyin.Style.TONE3)
