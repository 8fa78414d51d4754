"""AudioBox-Aesthetics against the package's own predictor, with tiny weights."""

from __future__ import annotations

import attrs
import pytest
import torch
from audiobox_aesthetics.infer import AesPredictor, Normalize
from harmony_bench.audiobox import AudioBoxAesthetics
from safetensors.torch import load_file, save_file
from small import clip, small_wavlm

from harmony_parts.errors import BrokenPart
from harmony_parts.media.clip import Clip
from harmony_parts.testing.contracts.metrics import check_metric


@pytest.fixture
def metric(audiobox):
    with small_wavlm():
        yield AudioBoxAesthetics(str(audiobox)).build()


def test_contract(audiobox):
    with small_wavlm():
        built = check_metric(AudioBoxAesthetics(str(audiobox)), clips=[clip(), clip(1.3)])
    assert built.reads == ("audio",)


def predictor(network) -> AesPredictor:
    """The package's own, which would choose its device and download its weights."""
    own = object.__new__(AesPredictor)
    own.data_col, own.sample_rate, own.device, own.model = "path", 16000, "cpu", network
    own.target_transform = {
        axis: Normalize(**scale) for axis, scale in network.target_transform.items()
    }
    return own


def test_it_is_the_packages_own_predictor(metric):
    """Stereo of 44.1 kHz, of one window and of three, alone and together."""
    rng = torch.Generator().manual_seed(1)
    sounds = [0.1 * torch.randn(2, 44100 * n // 10, generator=rng) for n in (13, 231)]
    clips = [Clip(waveform=sound, sample_rate=44100) for sound in sounds]
    expected = predictor(metric.network).forward(
        [{"path": sound, "sample_rate": 44100} for sound in sounds]
    )
    together = [found.audio for found in metric.analyse_batch(clips)]
    for own, sound, found in zip(expected, clips, together):
        assert list(found) == ["audiobox_ce", "audiobox_cu", "audiobox_pc", "audiobox_pq"]
        for name, value in found.items():
            assert value == pytest.approx(own[name[-2:].upper()], abs=1e-4)
            assert metric.analyse(sound).audio[name] == pytest.approx(value, abs=1e-4)
    assert together[0] != together[1]


def test_too_short_sounds_keep_their_place_in_a_batch(metric):
    short = Clip(waveform=torch.zeros(1, 100), sample_rate=16000)
    silent = attrs.evolve(clip(), waveform=None)
    found = [each.audio for each in metric.analyse_batch([short, clip(), silent])]
    assert found[0] == {}
    assert len(found[1]) == 4
    assert found[2] is None
    assert "shorter than 0.1 s" in metric.reason(None, found[0])


def test_weights_that_lack_are_no_random_ones(audiobox, tmp_path):
    for file in audiobox.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(tmp_path / "model.safetensors")
    weights.pop("proj_layer.PQ.0.weight")
    save_file(weights, tmp_path / "model.safetensors")
    with small_wavlm(), pytest.raises(BrokenPart, match=r"proj_layer\.PQ\.0\.weight"):
        AudioBoxAesthetics(str(tmp_path)).build()
