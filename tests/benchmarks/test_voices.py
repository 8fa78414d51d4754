"""Whose voice is heard: the true clips of both speakers tell that the measure can."""

from __future__ import annotations

from fractions import Fraction

import attrs
import pytest

from harmony_parts.av import Format
from harmony_parts.benchmarks.voices import VoiceCase, interval, measured, summary, voice_cases
from harmony_parts.data.soundstage import HELD_OUT

FORMAT = Format(fps=Fraction(24), height=64, width=64, sample_rate=16000, seconds=2.0)


@pytest.fixture(scope="module")
def cases() -> list[VoiceCase]:
    return voice_cases(FORMAT, 0)


def test_a_true_clip_has_its_speakers_voice_and_words(cases: list[VoiceCase]) -> None:
    """Also as the reference: then both are the same voice."""
    case = next(case for case in cases if case.differs)
    numbers = measured(case.content.clip, case)
    assert (numbers["reference"], numbers["content"], numbers["word_error"]) == (0, 1, 0)
    own = attrs.evolve(case, speaker=case.content)
    assert measured(case.content.clip, own)["reference"] == 1


def test_speakers_are_drawn_independently_of_the_texts(cases: list[VoiceCase]) -> None:
    one, other = cases, voice_cases(FORMAT, 1)
    assert [c.content.name for c in one] == [c.content.name for c in other]
    assert [c.speaker.name for c in one] != [c.speaker.name for c in other]
    assert len(one) == HELD_OUT
    rows = [{"reference": float(case.differs)} for case in one]
    found = summary(rows, one)
    assert found["different voices"]["reference"] == {
        "n": sum(case.differs for case in one),
        "mean": 1.0,
        "interval": [1.0, 1.0],
    }


def test_an_interval_holds_the_mean() -> None:
    found = interval([0.0, 1.0] * 25)
    low, high = found["interval"]
    assert found["mean"] == 0.5
    assert low == pytest.approx(0.36, abs=0.03)
    assert high == pytest.approx(0.64, abs=0.03)
