"""Noise and clipping score below clean, the same voice above another, shifts are recovered.

On real people (HARMONY_CLIPS), and on Soundstage's voices where a metric means something there:
DistillMOS doesn't.
"""

from __future__ import annotations

import attrs
import numpy as np
import pytest
import torch
from harmony_metrics_speech.distillmos import DistillMOS
from harmony_metrics_speech.dnsmos import DNSMOS
from harmony_metrics_speech.pitch import Pitch
from harmony_metrics_speech.transcription import Transcription
from harmony_metrics_speech.voice_activity import VoiceActivity
from harmony_metrics_speech.voice_likeness import VoiceLikeness
from torch.nn.functional import pad
from voices import clipped, example, noisy, numbers, part, take

from harmony_parts.media.clip import Clip
from harmony_parts.metrics.compare import compare
from harmony_parts.metrics.protocol import Reference


@pytest.fixture(scope="module")
def activity():
    return VoiceActivity().build()


@pytest.fixture(scope="module")
def pitch():
    return Pitch().build()


def shifted(clip: Clip, seconds: float) -> Clip:
    n = round(seconds * clip.sample_rate)
    return attrs.evolve(clip, frames=None, waveform=pad(clip.waveform, (n, 0)))


@pytest.mark.parametrize(
    ("spec", "name"), [(DNSMOS(), "dnsmos_ovrl"), (DistillMOS(), "distillmos")]
)
def test_noise_and_clipping_score_below_clean(spec, name, people):
    """By half a point at least, for three people."""
    metric = spec.build()
    for clip in list(people.values())[:3]:
        clean, *worse = (numbers(metric, each)[name] for each in (clip, noisy(clip), clipped(clip)))
        print(name, clean, worse)
        assert 2.9 < clean < 4.5
        assert max(worse) < clean - 0.5


def test_noise_alone_scores_lowest(person):
    hiss = attrs.evolve(person, waveform=noisy(person).waveform - person.waveform)
    metric = DistillMOS().build()
    assert numbers(metric, hiss)["distillmos"] < numbers(metric, noisy(person))["distillmos"]


def auc(table: np.ndarray) -> float:
    """Share of (same, other) couples in which the same voice is the likelier one."""
    others = table[~np.eye(len(table), dtype=bool)]
    return float((np.diag(table)[:, None] > others).mean())


def likeness(metric, heard, voice: Clip) -> float:
    return metric.score(None, heard, None, Reference(voice=voice))["voice_likeness"]


def test_the_same_voice_is_likelier_than_another(people):
    """First and second half of each sentence against those of the others: AUC at least 0.85."""
    metric = VoiceLikeness().build()
    halves = [(part(clip, 0.1, 0.5), part(clip, 0.5, 0.95)) for clip in people.values()]
    found = [metric.analyse(one).audio for one, _ in halves]
    table = np.array([[likeness(metric, each, other) for _, other in halves] for each in found])
    print("AUC", auc(table), np.round(table, 2))
    assert auc(table) >= 0.85


def test_soundstages_voices_are_told_apart():
    """Six voices, each with two takes: AUC at least 0.85."""
    metric = VoiceLikeness().build()
    found = [metric.analyse(example(take(3, voice)).clip).audio for voice in range(6)]
    others = [example(take(4, voice)).clip for voice in range(6)]
    table = np.array([[likeness(metric, each, other) for other in others] for each in found])
    print("AUC", auc(table), np.round(table, 2))
    assert auc(table) >= 0.85


def test_a_voice_is_like_itself(person):
    metric = VoiceLikeness().build()
    same = numbers(metric, person, Reference(voice=person))["voice_likeness"]
    assert same == pytest.approx(1, abs=1e-5)
    assert numbers(metric, person) == {}


def test_speech_is_found_where_it_is(people, activity):
    for clip in people.values():
        found = numbers(activity, clip)
        assert 0.35 < found["speech_share"] < 0.9
        assert 0.2 < found["speech_begins"] < found["speech_ends"] < 2.98


@pytest.mark.parametrize("seconds", [0.32, 0.8])
def test_a_shift_of_speech_is_recovered(people, activity, seconds):
    """Its end to a hop of 32 ms for all seven, its beginning to two for six.

    What the network hears first decides when it notices a soft beginning: here, added silence.
    """
    late = {"speech_begins": [], "speech_ends": []}
    for clip in people.values():
        before, after = numbers(activity, clip), numbers(activity, shifted(clip, seconds))
        for name, errors in late.items():
            errors.append(abs(after[name] - before[name] - seconds))
    print(seconds, late)
    assert max(late["speech_ends"]) < 0.033
    assert sum(error < 0.065 for error in late["speech_begins"]) >= 6


def test_noise_is_no_speech(person, activity):
    hiss = attrs.evolve(person, waveform=noisy(person).waveform - person.waveform)
    assert numbers(activity, hiss) == {"speech_share": 0.0}


def test_noise_has_no_pitch(person, pitch):
    hiss = attrs.evolve(person, waveform=noisy(person).waveform - person.waveform)
    assert numbers(pitch, hiss)["voiced_share"] < 0.05


@pytest.mark.parametrize("semitones", [-4, 3])
def test_a_shift_of_pitch_is_recovered(person, pitch, semitones):
    """Played faster or slower: to half a semitone."""
    faster = attrs.evolve(person, sample_rate=round(person.sample_rate * 2 ** (semitones / 12)))
    found = numbers(pitch, faster, Reference(voice=person))
    assert found["pitch_distance"] == pytest.approx(semitones, abs=0.5)


@pytest.mark.parametrize("hertz", [80.0, 137.0, 440.0])
def test_a_tone_has_its_pitch(pitch, hertz):
    """A sawtooth, to a tenth of a semitone."""
    t = torch.arange(16000) / 16000
    tone = sum(torch.sin(2 * torch.pi * hertz * k * t) / k for k in range(1, 12))
    found = numbers(pitch, Clip(waveform=0.3 * tone[None], sample_rate=16000))
    assert 12 * abs(np.log2(found["pitch_hz"] / hertz)) < 0.1
    assert found["voiced_share"] > 0.95


def test_soundstages_voices_have_their_pitch(pitch):
    """Within three semitones of the voice's mean pitch, and in order."""
    measured = []
    for voice in (0, 1, 3, 5):
        what = take(voice=voice)
        hertz = numbers(pitch, example(what).clip)["pitch_hz"]
        print(what.voices[0].name, what.voices[0].pitch, hertz)
        assert abs(12 * np.log2(hertz / what.voices[0].pitch)) < 3
        measured.append(hertz)
    assert measured == sorted(measured)


def test_speech_of_soundstage_is_found(activity):
    """It covers most of what is spoken, and ends as much later as the sound is late."""
    what = take(voice=1)
    found, late = (numbers(activity, example(what, offset).clip) for offset in (0.0, 0.3))
    print(found, late)
    assert found["speech_share"] > 0.3
    assert late["speech_ends"] - found["speech_ends"] == pytest.approx(0.3, abs=0.033)


def test_noise_and_clipping_score_below_clean_on_soundstage(synthetic):
    """By DNSMOS. DistillMOS can't judge these voices: it likes them better with noise."""
    metric = DNSMOS().build()
    clean, *worse = (
        numbers(metric, each)["dnsmos_ovrl"]
        for each in (synthetic, noisy(synthetic), clipped(synthetic))
    )
    print(clean, worse)
    assert max(worse) < clean - 0.5


def test_wrong_words_are_pooled_over_clips(people):
    """A recogniser that always hears the same: its error is over all words."""
    metric = Transcription("voices:seconds_heard").build()
    references = [Reference(transcript=each) for each in people]
    found = compare(metric, list(people.values()), references=references)["word_error"]
    assert found.paired == pytest.approx(1.0)
