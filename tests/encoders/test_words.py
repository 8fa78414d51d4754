"""Captions word by word: what is a word, that each counts, and that a long text is cut."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch

from harmony_parts.av import AV, Format, Prompt
from harmony_parts.encoders.word_text import WordText, WordTextEncoder, words_of

FORMAT = Format(fps=Fraction(12), height=16, width=24, sample_rate=8000, seconds=1.0)


def encoder(**settings: int) -> WordTextEncoder:
    torch.manual_seed(0)
    return WordText(width=16, heads=2, **settings).build(format=FORMAT, codecs=AV()).eval()


def tokens(network: WordTextEncoder, text: str) -> torch.Tensor:
    """[L, width] of one caption."""
    return network([Prompt(caption=text)])["caption"].tokens[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A man's voice, deep", ["a", "man's", "voice", ",", "deep"]),
        ("  two\tplips\n", ["two", "plips"]),
        ("Größe 再见!", ["größe", "再见", "!"]),
        ("", []),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert words_of(text) == words


def test_case_and_spaces_make_no_difference_and_every_word_does() -> None:
    network = encoder()
    text = "a red ball bounces on wood, twice"
    assert torch.equal(
        tokens(network, text), tokens(network, "A Red  ball bounces on WOOD , twice")
    )
    words = words_of(text)
    for place in range(len(words)):
        other = [*words[:place], "blue", *words[place + 1 :]]
        assert not torch.allclose(tokens(network, text), tokens(network, " ".join(other)))
    assert not torch.allclose(tokens(network, "red blue"), tokens(network, "blue red"))


def test_the_rows_are_the_same_in_every_process() -> None:
    """Python's own hash of a string changes from run to run; saved tables need one that doesn't."""
    assert encoder(rows=4096)._ids("red ball", 8) == [3984, 2140]


def test_a_long_text_is_cut_between_words() -> None:
    network = encoder(length=3)
    with pytest.warns(UserWarning, match="longer than the 3 words"):
        cut = tokens(network, "one two three four")
    assert torch.equal(cut, tokens(network, "one two three"))


@pytest.mark.parametrize("wrong", [{"width": 15}, {"heads": 3}, {"rows": 0}])
def test_settings_are_checked(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}|width"):
        WordText(**wrong)
