"""Whisper: what it hears of tiny weights, and the errors by its paper's normalisation."""

from __future__ import annotations

import attrs
import numpy as np
import pytest
import torch
from harmony_bench.whisper import Whisper, WordError
from small import clip
from transformers import WhisperForConditionalGeneration, WhisperProcessor

from harmony_parts.errors import BrokenPart
from harmony_parts.media.clip import Clip
from harmony_parts.metrics.compare import compare_analyses
from harmony_parts.metrics.protocol import Reference
from harmony_parts.testing.contracts.metrics import check_metric


def test_contract(whisper):
    check_metric(Whisper(str(whisper)), clips=[clip(side=16)])


def test_it_hears_what_transformers_own_steps_hear(whisper):
    """The processor's features of mono 16 kHz, greedy tokens, decoded without special ones."""
    metric = Whisper(str(whisper)).build()
    rng = torch.Generator().manual_seed(3)
    sound = 0.1 * torch.randn(2, 24000, generator=rng)
    heard = metric.analyse(Clip(waveform=sound, sample_rate=16000)).audio[0]
    processor = WhisperProcessor.from_pretrained(whisper)
    network = WhisperForConditionalGeneration.from_pretrained(whisper).eval()
    given = processor(sound.mean(0).numpy(), sampling_rate=16000, return_tensors="pt")
    tokens = network.generate(given.input_features, num_beams=1, do_sample=False)
    assert heard == processor.batch_decode(tokens, skip_special_tokens=True)[0].strip()
    assert heard


def errors(spoken: str, heard: str, language: str = "") -> dict[str, float]:
    metric = WordError(Whisper("x", language), lambda sound: heard, {"colour": "color"})
    found = metric.analyse(clip(side=16))
    return metric.score(None, found.audio, None, Reference(spoken))


@pytest.mark.parametrize(
    ("spoken", "heard", "expected"),
    [
        ("Place white in J three, please!", "place white in j 3 please", {"wer": 0, "words": 6}),
        ("The colour won't do.", "the color will not do", {"wer": 0, "words": 5}),
        ("one two three four", "one two four", {"wer": 1, "words": 1}),
        ("bin blue now", "bin green now", {"wer": 1 / 3, "words": 3}),
        ("hello", "", {"wer": 1, "words": 1}),
        (
            "\u4f60\u597d\uff0c\u4e16\u754c\u3002",
            "\u4f60\u597d\u4e16\u754c",
            {"cer": 0, "characters": 4},
        ),
        ("\u4f60\u597d\u4e16\u754c", "\u4f60\u597d\u4e16", {"cer": 0.25, "characters": 4}),
    ],
)
def test_errors_after_whispers_normalisation(spoken, heard, expected):
    assert errors(spoken, heard) == pytest.approx(expected)


def test_another_language_keeps_its_spelling():
    assert errors("Die Colour!", "die color", "de") == {"wer": 0.5, "words": 2}
    assert errors("Die Colour!", "die color") == {"wer": 0, "words": 2}


def test_errors_are_all_wrong_words_by_all_words():
    heard = iter(("read", "red green blue"))
    metric = WordError(Whisper("x"), lambda sound: next(heard))
    found = [metric.analyse(clip(side=16)) for _ in range(2)]
    spoken = [Reference("red"), Reference("red green blew")]
    together = compare_analyses(metric, found, references=spoken)
    assert together["wer"].paired == pytest.approx(2 / 4)


def test_it_hears_the_mean_of_the_channels():
    heard = []
    metric = WordError(Whisper("x"), lambda sound: heard.append(sound) or "text")
    mono = clip(side=16)
    for wave in (mono.waveform, torch.cat([2 * mono.waveform, torch.zeros_like(mono.waveform)])):
        metric.analyse(attrs.evolve(mono, waveform=wave))
    assert np.array_equal(*heard)


def test_reasons():
    metric = WordError(Whisper("x"), lambda sound: "text")
    heard, short = metric.analyse(clip(side=16)).audio, (None,)
    assert "shorter" in metric.reason(None, short, Reference("words"))
    assert "no transcript" in metric.reason(None, heard)
    for empty in ("...", "", "(laughs)"):
        assert "no words" in metric.reason(None, heard, Reference(empty))
        assert metric.score(None, heard, None, Reference(empty)) == {}
    assert metric.reason(None, heard, Reference("words")) == ""
    assert np.isfinite(list(metric.score(None, heard, None, Reference("words")).values())).all()


def test_weights_of_another_network_are_refused(dinov3):
    with pytest.raises(BrokenPart, match=r"can't be read|missing"):
        Whisper(str(dinov3)).build()
