"""Numbers and nouns of captions, and captions as short as people write them."""

from __future__ import annotations

import re

import numpy as np

from harmony_parts.scenes.canvas import PAINTS

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


# Each can be left out, and the caption still says what happens: what is behind it and passes by,
# clothes and hair, and the adjectives.
ASIDES = (
    re.compile(r", in front of an? [a-z ]+? wall"),
    re.compile(r", with \d+ lamps in an? \w+ night behind it"),
    re.compile(r", an? \w+ \w+ \w+ past"),
    re.compile(r",[^,;]* outside the picture"),
    re.compile(r", in an? \w+ shirt"),
    re.compile(
        r" with (?:a bald head|\w+ \w+ hair|\w+ hair in a bun)"
        r"(?: and glasses| and a beard|, a beard and glasses)?"
    ),
    *(
        re.compile(rf"\b(?:{words}) ")
        for words in (
            "drawn|shaded",
            "small|medium-sized|large",
            "|".join(PAINTS),
            "rubber|steel|glass",
            "bright|clear|deep|hollow|high|low|soft|rising|falling|winding|rattling",
        )
    ),
)
ARTICLE = re.compile(r"\ban? (\w+)")
GROUND = re.compile(r"on an? (wooden|stone|gravel) (?:floor|path)")


def brief(caption: str, rng: np.random.Generator) -> str:
    """The caption without a random part of what it could do without: "a ball bounces on wood"."""
    for aside in ASIDES:
        caption = aside.sub(lambda found: "" if rng.uniform() < 0.5 else found[0], caption)
    if rng.uniform() < 0.5:
        caption = GROUND.sub(lambda found: f"on {found[1].replace('wooden', 'wood')}", caption)
    return ARTICLE.sub(lambda found: article(found[1]), caption.replace("person, in", "person in"))
