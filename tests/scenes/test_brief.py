"""Captions as short as people write them."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harmony_parts.av import Format
from harmony_parts.data.soundstage import Soundstage, SoundstageSet
from harmony_parts.scenes.ambient import Ambient
from harmony_parts.scenes.captions import brief
from harmony_parts.scenes.complex import Complex
from harmony_parts.scenes.talk import Talk

FORM = Format(fps=24, height=16, width=16, sample_rate=8000, seconds=1.0)
ALL = (
    "a small red rubber ball bounces on a wooden floor, in front of a brown wall,"
    " an orange leaf falls past"
)
VERBS = r"\b(bounces|lies|strikes|plucks|play|walks|stands|drops|fall|talks?|silent|says?)\b"
NEW = {"a", "an", "on", "wood", "stone", "gravel"}  # words that a shorter caption may have instead


def world(**settings: object) -> SoundstageSet:
    return Soundstage(scenes=(Ambient(), Talk(), Complex()), **settings).build(format=FORM)  # type: ignore[arg-type]


def words(text: str) -> list[str]:
    return re.findall(r"[\w'-]+", text)


@given(seed=st.integers(0, 2**32), index=st.integers(0, 4095))
def test_what_happens_is_still_said(seed: int, index: int) -> None:
    """Words only go, in order, and never the verb of a scene; articles fit what follows."""
    long = world().texts(index)
    for name in ("caption", "sound"):
        text = brief(long[name], np.random.default_rng(seed))
        kept = iter(words(long[name]))
        assert all(word in NEW or word in kept for word in words(text)), text
        assert not re.search(r"\s\s|^\s|\s$|\s,|,,|^,|\ba [aeiou]|\ban [^aeiou]", text), text
        main = [re.search(VERBS, part) for part in long[name].split("; behind, ")]
        for found, part in zip(main, text.split("; behind, "), strict=True):
            assert found is None or found[0] in words(part), text


def test_each_part_can_be_left_out() -> None:
    """All of them together too: what is left is what people write."""
    made = {brief(ALL, np.random.default_rng(seed)) for seed in range(4000)}
    assert {"a ball bounces on wood", ALL, "a red ball bounces on a wooden floor"} <= made
    talks = "a shaded person with long grey hair, a beard and glasses, in an orange shirt talks"
    made = {brief(talks, np.random.default_rng(seed)) for seed in range(400)}
    assert {"a person talks", "a shaded person in an orange shirt talks", talks} <= made
    two = f"{talks[:-6]} and a white robot talk in turn, in front of a dark blue wall"
    made = {brief(two, np.random.default_rng(seed)) for seed in range(400)}
    assert all("and a" in text and "robot talk in turn" in text for text in made)


def test_only_the_texts_change() -> None:
    """A share of the examples, of the same clips; the same again; none without the setting."""
    long, short = world(), world(brief=0.5)
    texts = [(long.texts(index), short.texts(index)) for index in range(300)]
    changed = sum(one != other for one, other in texts) / len(texts)
    assert 0.4 < changed < 0.6
    assert all(one["speech"] == other["speech"] for one, other in texts)
    index = next(n for n, (one, other) in enumerate(texts) if one != other)
    one, other = long.example(index), short.example(index)
    assert torch.equal(one.clip.frames, other.clip.frames)
    assert torch.equal(one.clip.waveform, other.clip.waveform)
    assert other.prompt.caption == short.texts(index)["caption"] == texts[index][1]["caption"]
    assert torch.equal(one.prompt.voice, other.prompt.voice)
    with pytest.raises(ValueError, match="brief"):
        Soundstage(brief=1.5)
