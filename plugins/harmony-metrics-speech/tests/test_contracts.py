"""The contract of each metric, what it says of itself, and what it says if something is missing."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import metadata

import attrs
import numpy as np
import pytest
import torch
from harmony_metrics_speech.distillmos import DistillMOS
from harmony_metrics_speech.dnsmos import DNSMOS
from harmony_metrics_speech.library import ALL, DISTILLMOS
from harmony_metrics_speech.pitch import Pitch
from harmony_metrics_speech.sound import waveform
from harmony_metrics_speech.transcription import Transcription
from harmony_metrics_speech.voice_activity import VoiceActivity
from harmony_metrics_speech.voice_likeness import VoiceLikeness

from harmony_parts.assembly.catalogue import Catalogue
from harmony_parts.errors import BrokenPart
from harmony_parts.media.clip import Clip
from harmony_parts.metrics.protocol import Reference
from harmony_parts.testing.contracts.metrics import check_metric

METRICS = {
    "voice-activity": VoiceActivity(),
    "dnsmos": DNSMOS(),
    "distillmos": DistillMOS(),
    "voice-likeness": VoiceLikeness(),
    "pitch": Pitch(),
    "transcription": Transcription("voices:seconds_heard"),
}


@pytest.mark.parametrize("name", METRICS)
def test_contract(name, synthetic):
    metric = check_metric(METRICS[name], clips=[synthetic])
    assert metric.reads == ("audio",)


def test_the_declarations_name_them():
    parts = Catalogue.discover()
    for name, spec in METRICS.items():
        assert parts.load("metric", name) is type(spec)


def test_declaring_imports_no_library():
    """Nor does importing the specs; only building does."""
    code = (
        "import sys, harmony_metrics_speech.dnsmos, harmony_metrics_speech.pitch,"
        " harmony_metrics_speech.transcription, harmony_metrics_speech.distillmos,"
        " harmony_metrics_speech.voice_likeness, harmony_metrics_speech.voice_activity;"
        f"print([n for n in {[each.module for each in ALL]!r} if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("library", ALL, ids=lambda each: each.package)
def test_licences_are_those_of_the_packages(library):
    found = metadata(library.package)
    parts = [found.get(field, "") for field in ("License-Expression", "License")]
    stated = " ".join(parts + found.get_all("Classifier", []))
    assert {"MIT": "MIT", "Apache-2.0": "Apache"}[library.licence] in stated
    assert library.licence in str(library)


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "distillmos", None)
    with pytest.raises(BrokenPart, match=r"distillmos \(MIT\).*pip install"):
        DistillMOS().build()
    assert DISTILLMOS.licence == "MIT"


def test_a_recogniser_that_is_nowhere_is_named(tmp_path):
    folder = str(tmp_path)
    for name, cause in (("no", "neither"), ("voices:no", "neither"), (folder, "safetensors")):
        with pytest.raises(BrokenPart, match=cause):
            Transcription(name).build()


@pytest.mark.parametrize(
    ("sound", "reason"), [(torch.zeros(1, 16000), "silent"), (torch.ones(1, 7000), "shorter")]
)
def test_reasons(sound, reason):
    metric = Transcription("voices:seconds_heard").build()
    found = metric.analyse(Clip(waveform=sound, sample_rate=16000)).audio
    assert reason in metric.reason(None, found)
    assert metric.score(None, found) == {}


def test_a_reference_that_lacks_is_a_reason(synthetic):
    metric = Transcription("voices:seconds_heard").build()
    heard = metric.analyse(synthetic).audio
    assert "no transcript" in metric.reason(None, heard)
    assert "no transcript" in metric.reason(None, heard, Reference(voice=synthetic))
    assert "too little" in metric.reason(None, heard, Reference("..."))
    assert metric.reason(None, heard, Reference("three seconds")) == ""


def test_sounds_are_brought_to_one_form():
    """48 kHz stereo beyond full scale: 16 kHz, one channel, cut to -1..1."""
    tone = torch.sin(2 * torch.pi * 440 * torch.arange(48000) / 48000)
    sound = waveform(Clip(waveform=torch.stack((3 * tone, tone)), sample_rate=48000))
    assert sound.shape == (16000,)
    assert np.abs(sound).max() == 1
    assert attrs.fields_dict(Pitch)["highest"].metadata["unit"] == "Hz"


def test_importing_silero_leaves_the_threads(monkeypatch):
    for name in [each for each in sys.modules if each.startswith("silero_vad")]:
        monkeypatch.delitem(sys.modules, name)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        VoiceActivity().build()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
