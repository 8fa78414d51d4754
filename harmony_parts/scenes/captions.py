"""Numbers and nouns of captions."""

from __future__ import annotations

NUMBERS = (
    "no",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
)


def count(number: int, thing: str) -> str:
    """Number and noun in words: (3, "low thud") -> "three low thuds"."""
    word = NUMBERS[number] if number < len(NUMBERS) else "many"
    return f"{word} {thing}" + ("" if number == 1 else "s")


def article(word: str) -> str:
    """The word with "a" or "an" before it."""
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"
