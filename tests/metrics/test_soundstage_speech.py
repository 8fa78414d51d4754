"""The metrics of Soundstage's words, voices and mouths, on its own held-out clips."""

from __future__ import annotations

import attrs
import numpy as np
import pytest
import torch

from harmony_parts.av import Format
from harmony_parts.data.soundstage import Soundstage
from harmony_parts.media.clip import Clip
from harmony_parts.metrics.compare import compare
from harmony_parts.metrics.protocol import Reference
from harmony_parts.metrics.soundstage_mouth import SoundstageMouth, _correlation, darkness
from harmony_parts.metrics.soundstage_speech import WORDS, listen
from harmony_parts.metrics.soundstage_voice import SoundstageVoice
from harmony_parts.metrics.soundstage_words import SoundstageWords
from harmony_parts.metrics.words import text_of, words_of
from harmony_parts.scenes.talk import Talk
from harmony_parts.testing.contracts.metrics import check_metric

FORMAT = Format(fps=24, height=64, width=64, sample_rate=16000, seconds=2.0)
SILENCE = Clip(waveform=torch.zeros(1, 16000), sample_rate=16000)


@pytest.fixture(scope="module")
def examples():
    data = Soundstage(scenes=(Talk(pairs=0.0),), held_out=True).build(format=FORMAT)
    return [data.example(index) for index in range(10)]


@pytest.fixture(scope="module")
def references(examples):
    return [
        Reference(each.prompt.speech, Clip(waveform=each.prompt.voice, sample_rate=16000))
        for each in examples
    ]


def test_words_of_the_truth_are_right_and_chance_is_wrong(examples, references):
    """1 % of the words on 250 held-out clips (the benchmark's figure); of ten, at most 2 of 25."""
    found = compare(SoundstageWords(), [each.clip for each in examples], references=references)
    assert found["words"].paired > 2
    assert found["word_error"].paired < 0.08
    assert found["character_error"].paired < 0.08
    assert found["word_error"].repaired > 0.8
    assert found["words_heard"].repaired is None


def test_voices_of_the_truth_are_right_and_chance_is_wrong(examples, references):
    found = compare(SoundstageVoice(), [each.clip for each in examples], references=references)
    assert found["right_voice"].paired >= 0.9
    assert found["right_voice"].repaired < 0.5
    assert len({each.truth.speakers for each in examples}) >= 4


def test_mouths_open_with_their_own_speech(examples):
    found = compare(SoundstageMouth(), [each.clip for each in examples])["mouth_correlation"]
    assert found.paired > 0.55
    assert found.difference > 3 * found.difference_error
    # its signal follows the true opening
    clip, truth = examples[0].clip, examples[0].truth.mouth[0].numpy()
    seen = darkness(clip.frames.numpy(), 24.0)[0]
    opening = np.interp(np.arange(len(seen)) * 0.01, (np.arange(48) + 0.5) / 24, truth)
    assert np.corrcoef(seen, opening)[0, 1] > 0.6


def test_silence_is_wrong_with_a_reference_and_nothing_without(references):
    words, voice = SoundstageWords(), SoundstageVoice()
    heard = words.analyse(SILENCE).audio
    assert words.score(None, heard) == {} == voice.score(None, heard)
    assert words.score(None, heard, None, references[0])["word_error"] == 1
    assert voice.score(None, heard, None, references[0]) == {"right_voice": 0.0}
    assert words.reason(None, heard) == "the sound is silent"


def test_they_cannot_tell_outside_of_this_world(examples, references):
    words, voice = SoundstageWords(), SoundstageVoice()
    heard = listen(examples[0].clip)
    other = Reference("good morning", references[0].voice)
    assert "word_error" not in words.score(None, heard, None, other)
    assert "doesn't know" in words.reason(None, heard, other)
    assert words.reason(None, heard, Reference()) == "there is no transcript to compare with"
    two = attrs.evolve(references[0], transcript="red\nblue")
    assert "right_voice" not in voice.score(None, heard, None, two)
    assert voice.reason(None, heard, two) == "the transcript is of two speakers"
    quiet = attrs.evolve(references[0], voice=SILENCE)
    assert voice.reason(None, heard, quiet) == "there is no voice in the reference audio"


@pytest.mark.parametrize("metric", [SoundstageWords(), SoundstageVoice(), SoundstageMouth()])
def test_they_keep_the_contract(metric):
    check_metric(metric)


def test_transcripts_become_words_and_text_again():
    assert words_of("Red green\n two") == ("red", "green", "two")
    assert words_of("月亮苹果一") == ("月亮", "苹果", "一")
    assert words_of("red morning") is None is words_of("月")
    assert words_of("") == ()
    assert text_of(("red", "月亮", "一", "blue", "green")) == "red 月亮一 blue green"
    assert len(set(WORDS)) == 50


def test_a_quarter_of_a_second_is_long_enough() -> None:
    """It is heard out, and found to be silent."""
    heard = [
        listen(Clip(waveform=torch.zeros(1, samples), sample_rate=16000))
        for samples in (3999, 4000)
    ]
    assert [each.reason for each in heard] == [
        "the sound is shorter than 0.25 s",
        "the sound is silent",
    ]


def test_a_constant_signal_has_no_correlation() -> None:
    rising = np.arange(5.0)
    assert _correlation(np.ones(5), rising) == 0
    assert _correlation(rising, 2 * rising) == pytest.approx(1)
