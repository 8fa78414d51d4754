"""Talk: words, phonemes and mouths agree, and the voices have the pitch that they say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmony_parts.scenes.mixer import Mixer
from harmony_parts.scenes.phones import LANGUAGES, PHONES
from harmony_parts.scenes.rhythm import Rhythm
from harmony_parts.scenes.talk import Talk, TalkTake
from harmony_parts.scenes.utterance import Spoken, Utterance
from harmony_parts.scenes.voice import VOICES


def take(seed: int, **settings: object) -> TalkTake:
    return Talk(**settings).draw(np.random.default_rng(seed), 3.0, Rhythm())


def test_all_words_are_made_of_known_phonemes() -> None:
    for words in LANGUAGES.values():
        for word in words:
            names = [name.lstrip(".") for name in word.phones]
            assert set(names) <= PHONES.keys(), word
            marked = sum(name.startswith(".") for name in word.phones)
            assert len(word.tones) == marked, word


@settings(max_examples=20)
@given(st.integers(0, 1000))
def test_phonemes_are_those_of_the_words_and_speakers_take_turns(seed: int) -> None:
    found = take(seed, pairs=1.0)
    said = [word for utterance in found.said for word in utterance.words]
    names = [name.lstrip(".") for word in said for name in word.word.phones]
    assert [each.symbol for each in found.phonemes] == names
    ends = [[each.end for each in found.phonemes if each.speaker == k] for k in (0, 1)]
    starts = [each.start for each in found.phonemes if each.speaker == 1]
    assert max(ends[0]) < min(starts)
    assert found.transcript.count("\n") == 1


@settings(max_examples=20)
@given(st.integers(0, 1000))
def test_mouths_are_shut_on_m_and_open_on_a(seed: int) -> None:
    found = take(seed)
    for each in found.phonemes:
        opening = found.mouth(np.array([(each.start + each.end) / 2]))[each.speaker, 0]
        assert opening == pytest.approx(PHONES[each.symbol].opening, abs=1e-9)
    assert found.mouth(np.array([0.02, 2.99])).max() < 1e-9


@pytest.mark.parametrize("voice", VOICES, ids=lambda voice: voice.name)
@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_a_voice_has_its_pitch_at_every_rate(voice, rate: int) -> None:
    """The period of a long vowel is that of the voice: its autocorrelation peaks there."""
    word = next(each for each in LANGUAGES["English"] if each.text == "mama")
    mixer = Mixer(rate * 2, rate, np.random.default_rng(0))
    voice.say(Utterance((Spoken(word, 0.2, 0.4),)), mixer)
    start, end, _ = Spoken(word, 0.2, 0.4).phones()[-1]
    sound = mixer.sound()[0, int((start + 0.1) * rate) : int((end - 0.1) * rate)]
    sound = sound * np.hanning(len(sound))
    spectrum = np.abs(np.fft.rfft(sound, 1 << 17)) ** 2
    alike = np.fft.irfft(spectrum)
    low, high = int(rate / 330), int(rate / 80)
    period = low + int(alike[low:high].argmax())
    # The melody of a word falls by up to three semitones from its stress to its end.
    assert voice.pitch * 2 ** (-3 / 12) < rate / period < voice.pitch * 2 ** (3 / 12)


def test_the_sound_follows_the_mouth() -> None:
    """Over many takes, the level of the sound correlates with the opening of the mouth."""
    found = []
    for seed in range(12):
        one = take(seed, pairs=0.0)
        mixer = Mixer(48000, 16000, np.random.default_rng(0))
        one.sound(mixer)
        level = np.sqrt((mixer.sound()[0].reshape(-1, 320) ** 2).mean(1))
        times = (np.arange(len(level)) + 0.5) * 0.02
        found.append(np.corrcoef(level, one.mouth(times)[0])[0, 1])
    assert np.median(found) > 0.6
    assert min(found) > 0.3
