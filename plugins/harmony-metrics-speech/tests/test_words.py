"""Edits by hand, invariants, and Chinese."""

from __future__ import annotations

import jiwer
import pypinyin
import pytest
from harmony_metrics_speech.words import errors, plain
from hypothesis import given
from hypothesis import strategies as st

ONES = ("one", "two", "three", "dog's", "café", "你", "好")
WORDS = st.lists(st.sampled_from(ONES), min_size=1).map(" ".join)


def found(said: str, heard: str) -> dict[str, float]:
    return errors(said, heard, jiwer, pypinyin)


def test_one_word_of_six_is_wrong():
    numbers = found("Bin blue at F two, now!", "bin blue at s two now")
    assert numbers["word_error"] == pytest.approx(1 / 6)
    assert numbers["words"] == 6
    assert numbers["character_error"] == pytest.approx(1 / numbers["characters"])


def test_a_homophone_is_a_wrong_character_and_a_right_syllable():
    numbers = found("他在家。", "她再家")
    assert numbers["character_error"] == pytest.approx(2 / 3)
    assert numbers["pinyin_error"] == 0
    assert "word_error" not in numbers
    assert found("妈", "马")["pinyin_error"] == 1  # the tone counts


def test_silence_is_all_wrong_and_no_words_are_nothing():
    assert found("one two", "")["word_error"] == 1
    assert found("...", "one") == {}
    assert found("one", "one two three")["word_error"] == 2


@given(WORDS)
def test_what_is_heard_right_has_no_error(text):
    numbers = found(text, f"  {text.upper()}! ")
    assert all(value == 0 for name, value in numbers.items() if name.endswith("error"))


@given(st.text())
def test_plain_text_stays_as_it_is(text):
    assert plain(plain(text)) == plain(text)
