"""What a model knows: the words of its training clips, in `known.json` of the model's folder.

Any model's folder may have this file; `harmony ship` writes it. Importing this imports no torch.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from harmony_parts.errors import RunError
from harmony_parts.media.files import replace_text

FILE = "known.json"
FIELDS = ("caption", "sound", "speech")  # of a prompt
EXAMPLES = 200  # kept of each field
# Chinese is written without spaces: each character counts as a word
WORD = re.compile(r"[\u3400-\u9fff]|[^\W_\u3400-\u9fff]+(?:['’][^\W_\u3400-\u9fff]+)?")
ENDINGS = ("'s", "’s", "ing", "ed", "es", "en", "s", "e")
STEM = 3  # letters that are left of a word at least
# words without a thing or an action of their own: English, as the captions of most data sets
PLAIN = {
    *("a", "an", "and", "are", "as", "at", "by", "for", "from", "in", "into", "is", "it", "its"),
    *("of", "on", "onto", "or", "the", "their", "there", "to", "with"),
}


@attrs.frozen
class Texts:
    """The words of a field's texts, in lower case, and some of the texts."""

    words: frozenset[str]
    examples: tuple[str, ...]

    def unknown(self, text: str) -> list[str]:
        """The words of a text that aren't among these, in any of their forms.

        Articles and prepositions don't count, unless the text has nothing else.
        """
        stems = {stem(word) for word in self.words}
        words = list(dict.fromkeys(words_of(text)))
        telling = [word for word in words if word not in PLAIN] or words
        return [word for word in telling if stem(word) not in stems]

    def nearest(self, text: str, count: int = 3) -> list[str]:
        """The examples that share most words with a text, then those with the most like letters."""
        wanted = {stem(word) for word in words_of(text) if word not in PLAIN}

        def nearness(example: str) -> tuple[int, float]:
            shared = wanted & {stem(word) for word in words_of(example)}
            return len(shared), difflib.SequenceMatcher(None, text.lower(), example.lower()).ratio()

        return sorted(self.examples, key=nearness, reverse=True)[:count]


def words_of(text: str) -> Iterator[str]:
    """The words of a text, in lower case."""
    return (match.group() for match in WORD.finditer(text.lower()))


def stem(word: str) -> str:
    """A word without its ending: that of "bounces", "bouncing", "bounced" and "bounce" is equal."""
    for ending in ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= STEM:
            return word[: -len(ending)]
    return word


def learn(texts: Iterable[Mapping[str, str | None]]) -> dict[str, Texts]:
    """What is known from the texts of clips, by field: all words, and at most EXAMPLES texts.

    Texts with a word that is new come first.
    """
    words: dict[str, set[str]] = {name: set() for name in FIELDS}
    telling: dict[str, dict[str, None]] = {name: {} for name in FIELDS}
    others: dict[str, dict[str, None]] = {name: {} for name in FIELDS}
    for each in texts:
        for name in FIELDS:
            text = " ".join((each.get(name) or "").split())
            found = set(words_of(text))
            if found:
                (others if found <= words[name] else telling)[name][text] = None
                words[name] |= found
    return {
        name: Texts(frozenset(words[name]), tuple(telling[name] | others[name])[:EXAMPLES])
        for name in FIELDS
        if words[name]
    }


def write_known(folder: Path, known: Mapping[str, Texts]) -> None:
    """Write known.json into a model's folder. Raises OSError."""
    plain = {
        name: {"words": sorted(texts.words), "examples": list(texts.examples)}
        for name, texts in known.items()
    }
    replace_text(folder / FILE, json.dumps(plain, indent=1, ensure_ascii=False) + "\n")


def read_known(folder: Path) -> dict[str, Texts]:
    """What the model in a folder knows, by field; empty if the folder has no such file.

    Raises RunError if the file can't be read.
    """
    file = folder / FILE
    if not file.is_file():
        return {}
    try:
        found: Any = json.loads(file.read_text(encoding="utf-8"))
        return {
            name: Texts(frozenset(texts["words"]), tuple(texts["examples"]))
            for name, texts in found.items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise RunError(
            f"{file}: can't be read as the words that the model knows: {error!r}; remove it, or"
            " write it anew with `harmony ship`"
        ) from error
