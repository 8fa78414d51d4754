"""Transcripts as characters and pinyin: English and Chinese."""

from __future__ import annotations

import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harmony_parts.av import AV, Condition, Format, Prompt
from harmony_parts.encoders import text_ids
from harmony_parts.encoders.characters import (
    COUNT,
    FINALS,
    INITIALS,
    TONES,
    UNKNOWN,
    character_ids,
    token_id,
    tokens_of,
)
from harmony_parts.encoders.transcript import Transcript
from harmony_parts.errors import RequestError
from harmony_parts.testing.contracts.encoders import check_encoder

FORMAT = Format(fps=8, height=16, width=16, sample_rate=8000, seconds=1)
SPEC = Transcript(units="characters", width=8, length=12)


def encode(spec: Transcript, *texts: str | None) -> Condition:
    torch.manual_seed(0)
    encoder = spec.build(format=FORMAT, codecs=AV()).eval()
    return encoder([Prompt(speech=text) for text in texts])["speech"]


def test_english_is_read_by_letter() -> None:
    """One token for each character, and typographic quotes are the plain ones."""
    assert tokens_of("Don’t stop, “Ann”!") == list('Don\'t stop, "Ann"!')
    ids = character_ids("Bad bab", 99)
    assert len(ids) == 7
    assert ids[1] == ids[5]
    assert len({ids[0], ids[2], ids[3], ids[4], ids[1]}) == 5


def test_chinese_is_read_by_syllable() -> None:
    """A space and a syllable each; phrases decide between readings, and tones change each other.

    Two third tones: the first becomes a second. 行 is hang in a bank, xing in walking.
    """
    pytest.importorskip("pypinyin", reason="pip install harmony-parts[pinyin]")
    assert tokens_of("你好") == [" ", "ni2", " ", "hao3"]
    assert tokens_of("银行行走，绿的。") == [
        *(" ", "yin2", " ", "hang2", " ", "xing2", " ", "zou3", ","),
        *(" ", "lv4", " ", "de", "."),
    ]
    assert tokens_of("说 hello 你")[2:9] == list(" hello ")
    assert tokens_of("说hello")[2:] == list(" hello")
    assert tokens_of("嗯") == [" ", "n2"]  # not a syllable of the grid: unknown
    assert UNKNOWN not in {token_id(t) for t in tokens_of("你好，女人略知一二，尔等准确穷雪")}


def test_every_syllable_and_character_has_an_id_of_its_own() -> None:
    tones = ("", *"1234")
    syllables = [i + f + t for i in INITIALS for f in FINALS for t in tones if len(i + f + t) > 1]
    ids = [token_id(s) for s in syllables] + [token_id(chr(c)) for c in range(0x250)]
    # "a" without initial and tone is the letter, and so on
    assert len(set(ids)) == len(ids)
    assert max(ids) < COUNT == 2 + 0x250 + 24 * 34 * TONES
    assert token_id("я") == token_id("ж") == UNKNOWN


@given(st.text(st.characters(max_codepoint=0x33FF), max_size=30), st.integers(1, 30))
def test_ids_are_in_range_and_the_limit_is_in_characters(text: str, length: int) -> None:
    ids = character_ids(text, length)
    assert all(0 < i < COUNT for i in ids) or ids == [0]
    assert len(ids) == max(1, min(len(text), length))


@pytest.mark.parametrize("units", ["bytes", "characters"])
def test_the_limit_counts_characters(units: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not bytes, of which é has two; nor syllables with their spaces."""
    monkeypatch.setattr(text_ids, "_WARNED", set())
    spec = Transcript(units=units, width=8, length=12)
    encoder = spec.build(format=FORMAT, codecs=AV()).eval()
    with pytest.warns(UserWarning, match="a text of 13 characters .* than the 12 characters"):
        found = encoder([Prompt(speech="é" * 13)])["speech"]
    assert torch.equal(found.tokens, encoder([Prompt(speech="é" * 12)])["speech"].tokens)
    assert found.mask.sum() == (24 if units == "bytes" else 12)


def test_the_contract_and_a_chinese_sentence_at_the_limit() -> None:
    pytest.importorskip("pypinyin", reason="pip install harmony-parts[pinyin]")
    check_encoder(SPEC, FORMAT, AV())
    condition = encode(SPEC, "你好世界你好世界你好世界", "hi", None)
    assert condition.mask.sum(1).tolist() == [24, 2, 1]
    assert condition.tokens.isfinite().all()


def test_without_pypinyin_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pypinyin", None)
    assert tokens_of("no need of it") == list("no need of it")
    with pytest.raises(
        RequestError, match=r"'你好' is Chinese, .*pip install 'harmony-parts\[pinyin\]'"
    ):
        encode(SPEC, "你好")
