"""Words of Soundstage's vocabulary in a transcript."""

from __future__ import annotations

from collections.abc import Sequence

from harmony_parts.scenes.phones import LANGUAGES

LONGEST_FIRST = sorted(
    (word.text for words in LANGUAGES.values() for word in words), key=len, reverse=True
)


def words_of(transcript: str) -> tuple[str, ...] | None:
    """The words of a transcript, with or without spaces; `None` if another one is among them.

    No word of a language with spaces is found within a longer one.
    """
    found: list[str] = []
    for part in transcript.split():
        if part.isascii():
            found.append(part.lower())
            continue
        while part:
            word = next((each for each in LONGEST_FIRST if part.startswith(each)), None)
            if word is None:
                return None
            found.append(word)
            part = part[len(word) :]
    return tuple(found) if set(found) <= set(LONGEST_FIRST) else None


def text_of(words: Sequence[str]) -> str:
    """The words as one text; Chinese has no spaces."""
    spaced = "".join(f" {word} " if word.isascii() else word for word in words)
    return " ".join(spaced.split())
