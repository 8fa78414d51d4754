"""SyncNet against the package's own evaluation and crops, and known offsets of its embeddings."""

from __future__ import annotations

from types import SimpleNamespace

import attrs
import cv2
import numpy as np
import pytest
import torch
from harmony_bench.faces import at_25, crop, scenes, tracks
from harmony_bench.syncnet import FRAME, RATE, Faces, LipSync, Sound, SyncNet, agreement
from scipy.io import wavfile
from syncnet_python import syncnet_pipeline
from syncnet_python.syncnet_pipeline import PipelineConfig
from syncnet_python.SyncNetInstance import SyncNetInstance

from harmony_parts.errors import BrokenPart
from harmony_parts.media.clip import Clip
from harmony_parts.testing.contracts.metrics import check_metric

RNG = np.random.default_rng(0)
BOX = np.array([20.0, 10.0, 140.0, 130.0, 0.99])


class Tiny(torch.nn.Module):
    """Two maps in place of SyncNet's networks, for what doesn't depend on them."""

    def __init__(self):
        super().__init__()
        rng = torch.Generator().manual_seed(0)
        self.weight = torch.nn.Parameter(torch.randn(13 * 20, 8, generator=rng))

    def forward_lip(self, pictures):
        return pictures[..., ::32, ::32].mean(1).flatten(1)[:, : 13 * 20] @ self.weight[: 5 * 49]

    def forward_aud(self, values):
        assert values.shape[1:] == (1, 13, 20)
        return values.flatten(1) @ self.weight


def talking(seconds: float = 2.4, fps: int = 25) -> Clip:
    """Noise in the place of a face, and noise that is heard."""
    frames = RNG.integers(0, 256, (round(seconds * fps), 150, 160, 3), dtype=np.uint8)
    sound = 0.1 * RNG.standard_normal((1, round(seconds * RATE)))
    return Clip(torch.from_numpy(frames), fps, torch.from_numpy(sound).float(), RATE)


@attrs.frozen
class Spec:
    """Builds the metric with known faces."""

    def build(self, *, device="cpu"):
        return LipSync(
            SyncNet("x", "y"), Tiny(), lambda frame: BOX[None] if frame.any() else BOX[:0, None]
        )


def test_contract():
    check_metric(Spec(), clips=[talking()])


@pytest.fixture(scope="module")
def real(syncnet):
    return SyncNet(*map(str, syncnet)).build()


def test_it_is_the_packages_own_evaluation(real, tmp_path):
    """The same faces and sound, as files: PNG, which OpenCV reads under any name."""
    cut = RNG.integers(0, 256, (30, 224, 224, 3), dtype=np.uint8)
    sound = (3000 * RNG.standard_normal(30 * FRAME)).astype(np.int16)
    for k, picture in enumerate(cut):
        (tmp_path / f"{k:06d}.jpg").write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    wavfile.write(tmp_path / "audio.wav", RATE, sound)
    own = SyncNetInstance(real.network, device="cpu")
    options = SimpleNamespace(tmp_dir=str(tmp_path), batch_size=20, vshift=15)
    offset, confidence, distance = own.evaluate(options)
    heard = real.hear(
        Clip(waveform=torch.from_numpy(sound[None] / 2**15).float(), sample_rate=RATE)
    )
    found = real.score(Faces(((0, real.lips(cut)),)), heard)
    assert found["sync_c"] == pytest.approx(confidence, abs=1e-4)
    assert found["sync_d"] == pytest.approx(distance, abs=1e-4)
    assert found["sync_offset_ms"] == -40 * offset


def test_faces_are_cut_out_as_the_package_does(monkeypatch, tmp_path):
    """By the pipeline's own code, which reads and writes memory here: a face beyond the edge."""
    frames = RNG.integers(0, 256, (20, 150, 160, 3), dtype=np.uint8)
    boxes = np.array([[5.0 + 3 * k, 10 - k, 95 + 3 * k, 110.0] for k in range(20)])
    written = []
    writer = SimpleNamespace(write=written.append, release=lambda: None)
    monkeypatch.setattr(cv2, "VideoWriter", lambda *given: writer)
    monkeypatch.setattr(cv2, "imread", lambda k: np.ascontiguousarray(frames[k, ..., ::-1]))
    monkeypatch.setattr(syncnet_pipeline.subprocess, "run", lambda *given, **names: None)
    monkeypatch.setattr(syncnet_pipeline.os, "remove", lambda file: None)
    own = syncnet_pipeline.SyncNetPipeline.__new__(syncnet_pipeline.SyncNetPipeline)
    own.cfg = PipelineConfig()
    own._crop({"frame": np.arange(20), "bbox": boxes}, range(20), "", tmp_path / "face")
    found = crop(frames, boxes, own.cfg.crop_scale)
    assert found.shape == (20, 224, 224, 3)
    assert np.array_equal(found, np.stack(written))
    assert (found[10] == 110).all(-1).any()


def test_a_face_is_tracked_within_its_scene_if_it_lasts():
    """Two scenes of 60 and 40 frames; a face in both, of which only the first is long enough."""
    dark, bright = np.zeros((60, 150, 160, 3), np.uint8), np.full((40, 150, 160, 3), 220, np.uint8)
    frames = np.concatenate((dark, bright))
    assert list(scenes(frames)) == [(0, 60), (60, 100)]
    found = tracks(frames, lambda frame: BOX[None], PipelineConfig())
    assert [(first, len(boxes)) for first, boxes in found] == [(0, 60)]
    small = np.array([20.0, 10.0, 80.0, 70.0, 0.99])
    assert tracks(frames, lambda frame: small[None], PipelineConfig()) == []


def test_pictures_come_at_25_a_second():
    frames = np.arange(48)[:, None, None, None]
    assert np.array_equal(at_25(frames, 25), frames)
    found = at_25(frames, 24).ravel()
    assert len(found) == 50
    assert np.abs(found - np.arange(50) * 24 / 25).max() <= 0.96
    assert at_25(frames, 50).ravel().tolist() == list(range(1, 48, 2))


@pytest.mark.parametrize("late", [-7, 0, 5])
def test_an_offset_of_embeddings_is_recovered(late):
    """The sound's are those of the picture, some frames later."""
    values = torch.from_numpy(RNG.standard_normal((90, 16))).float()
    confidence, distance, found = agreement(values[20:70], values[20 - late : 70 - late], 15)
    assert found == late
    assert confidence > 1
    assert distance < 1.5


def test_the_sound_of_a_face_begins_with_it(real):
    """A face from the 30th frame on is compared with the sound from there on."""
    sound = torch.from_numpy(RNG.standard_normal((80, 16))).float()
    metric = attrs.evolve(real, network=Tiny())
    numbers = metric.score(Faces(((30, sound[30:70]),)), Sound(sound))
    assert numbers["sync_offset_ms"] == 0
    assert numbers["sync_d"] == pytest.approx(0, abs=1e-3)
    assert metric.score(Faces(((70, sound[70:]),)), Sound(sound)) == {}
    assert "second" in metric.reason(Faces(((70, sound[70:]),)), Sound(sound))


def test_of_two_faces_the_better_numbers_count(real):
    """As the package has them: the highest confidence and the lowest distance."""
    sound = torch.from_numpy(RNG.standard_normal((60, 16))).float()
    faces = ((0, sound + 0.2), (0, 9 * sound.flip(0)))
    alone = [real.score(Faces((face,)), Sound(sound)) for face in faces]
    both = real.score(Faces(faces), Sound(sound))
    assert both["sync_c"] == max(each["sync_c"] for each in alone)
    assert both["sync_d"] == min(each["sync_d"] for each in alone)


def test_reasons(real):
    wall = Clip(torch.zeros(60, 150, 160, 3, dtype=torch.uint8), 25, torch.zeros(1, 38400), RATE)
    still = Spec().build()
    for clip, reason in (
        (wall, "no face of 100 pixels"),
        (attrs.evolve(wall, frames=wall.frames[:20]), "not longer than 2 s"),
        (attrs.evolve(wall, frames=wall.frames[:, :90]), "not larger than a face"),
    ):
        found = still.analyse(clip)
        assert still.score(found.video, found.audio) == {}
        assert reason in still.reason(found.video, found.audio)
    seen = still.analyse(talking()).video
    assert "silent" in still.reason(seen, still.analyse(wall).audio)
    assert "shorter" in still.reason(
        seen, still.hear(Clip(waveform=torch.ones(1, 8000), sample_rate=RATE))
    )


def test_it_hears_the_mean_of_the_channels():
    mono, metric = talking(), Spec().build()
    both = torch.cat([2 * mono.waveform, torch.zeros_like(mono.waveform)])
    one, two = (metric.hear(attrs.evolve(mono, waveform=wave)) for wave in (mono.waveform, both))
    assert len(one.found)
    assert torch.equal(one.found, two.found)


def test_s3fd_finds_no_face_in_random_weights(real):
    """Its boxes have five numbers, whatever it finds."""
    assert real.detect(np.zeros((200, 240, 3), np.uint8)).shape[1] == 5


def test_other_weights_are_refused(syncnet):
    with pytest.raises(BrokenPart, match="aren't the weights of S:"):
        SyncNet(str(syncnet[1]), str(syncnet[0])).build()
