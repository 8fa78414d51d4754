"""The contract, known motions and offsets, and every reason for which it can't tell."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import attrs
import cv2
import numpy as np
import pytest
import torch
from harmony_lips.faces import make_finder
from harmony_lips.flow import dis, opening_velocity
from harmony_lips.lips import Lips, LipSync, Mouths, Speech
from harmony_lips.signals import STEP, band_level, correlations, triangle, vertex, without_drift
from harmony_lips.tracking import find, follow
from talking_heads import boxes, example, take

from harmony_parts.assembly.catalogue import Catalogue
from harmony_parts.media.clip import Clip
from harmony_parts.testing.check_parts import contract
from harmony_parts.testing.contracts.metrics import check_metric

FRAME = 40.0  # ms
FPS = 25.0


@pytest.fixture(scope="module")
def head():
    """A talking head, and the metric with its mouth box."""
    seen = take(103)
    return example(seen), Lips(boxes=boxes(seen)).build()


def scored(metric: LipSync, clip: Clip) -> dict[str, float]:
    found = metric.analyse(clip)
    return metric.score(found.video, found.audio)


def test_contract(head):
    check_metric(head[1].spec, clips=[head[0].clip])


def test_it_hears_the_mean_of_the_channels(head):
    mono = head[0].clip.waveform / 2
    for both in ((2 * mono, 0 * mono), (0 * mono, 2 * mono)):
        one, two = (
            head[1].analyse(Clip(waveform=wave, sample_rate=head[0].clip.sample_rate)).audio
            for wave in (mono, torch.cat(both))
        )
        assert repr(one) == repr(two)


def test_the_declaration_names_it():
    """Balls and hammers have no faces, so `harmony parts check` says that it can't check it."""
    parts = Catalogue.discover(only=["lips"])
    assert parts.load("metric", "lips") is Lips
    checked = contract(parts, parts.find("metric", "lips"))
    assert not checked.fault
    assert "no number" in checked.hindrance


def test_the_opening_velocity_is_that_of_the_mouth():
    """Against Soundstage's exact openings in eight heads: r is 0.81 to 0.98, its median 0.94."""
    found = []
    for seed in range(101, 109):
        seen = take(seed)
        drawn = example(seen)
        frames, truth = drawn.clip.frames.numpy(), drawn.truth.mouth[0].numpy()
        track = follow(frames, np.array(boxes(seen)[0]) * 160, dis())
        velocity = opening_velocity(frames, track, FPS, dis())
        found.append(np.corrcoef(velocity, np.diff(truth))[0, 1])
    assert np.median(found) >= 0.9
    assert min(found) >= 0.75


@pytest.mark.parametrize("offset", [-0.4, -0.16, 0.2, 0.4])
def test_offsets_are_recovered_to_a_frame(head, offset):
    picture = head[1].analyse(attrs.evolve(head[0].clip, waveform=None)).video
    late = head[1].analyse(attrs.evolve(example(take(103), offset).clip, frames=None)).audio
    assert head[1].score(picture, late)["lip_offset_ms"] == pytest.approx(1000 * offset, abs=FRAME)


def test_a_head_that_moves_far():
    seen = take(103, motion=2.5)
    numbers = scored(Lips(boxes=boxes(seen)).build(), example(seen, 0.2).clip)
    assert numbers["lip_offset_ms"] == pytest.approx(200, abs=FRAME)


def test_two_people_who_take_turns():
    """Both mouths together correlate better than each; of one speaker's words, his does best."""
    seen = take(101, pairs=1.0)
    metric = Lips(boxes=boxes(seen)).build()
    found = metric.analyse(example(seen).clip)
    assert metric.match(found.video, found.audio).speaker is None
    assert abs(metric.score(found.video, found.audio)["lip_offset_ms"]) <= FRAME
    for speaker in range(2):
        said = tuple(
            words if k == speaker else attrs.evolve(words, words=())
            for k, words in enumerate(seen.said)
        )
        alone = metric.analyse(example(attrs.evolve(seen, said=said)).clip).audio
        assert metric.match(found.video, alone).speaker == speaker


def test_motion_of_the_whole_head_cancels():
    """A texture that moves down evenly has no opening; one that parts has its velocity."""
    noise = np.random.default_rng(0).uniform(0, 255, (80, 80)).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), 2)
    texture = np.clip((noise - noise.mean()) * 8 + 128, 0, 255).astype(np.uint8)
    track = np.tile((20.0, 26.0, 60.0, 54.0), (2, 1))

    def velocity(upper: float, lower: float) -> float:
        rows, columns = np.mgrid[:80, :80].astype(np.float32)
        moved = cv2.remap(
            texture, columns, rows - np.where(rows < 40, upper, lower).astype("f4"), 1
        )
        return float(opening_velocity(colour(texture, moved), track, FPS, dis())[0])

    assert abs(velocity(1, 1)) < 0.05 * 2 / 40 * FPS
    assert velocity(-1, 1) == pytest.approx(2 / 40 * FPS, rel=0.25)


def colour(*grey: np.ndarray) -> np.ndarray:
    return np.stack([np.repeat(each[..., None], 3, -1) for each in grey])


def test_faces_are_followed_by_nearness():
    """Two mouths that move and come in any order, and one that is seen once."""
    rng = np.random.default_rng(0)

    def finder(frame: np.ndarray) -> np.ndarray:
        k = int(frame[0, 0, 0])
        found = [(10 + k, 10, 20 + k, 16), (60, 40 - k, 70, 46 - k)]
        return np.array(
            ([(80, 80, 90, 86)] if k == 5 else []) + [found[i] for i in rng.permutation(2)]
        )

    frames = np.stack([np.full((100, 100, 3), k, np.uint8) for k in range(26)])
    tracks = sorted(find(frames, FPS, finder), key=lambda track: track[0, 0])
    assert len(tracks) == 2
    inner = np.arange(6, 20)  # where the smoothing doesn't repeat the edge
    assert np.allclose(tracks[0][inner, 0], 10 + inner)
    assert np.allclose(tracks[1][inner, 1], 40 - inner)


def test_correlations_and_their_peak():
    rng = np.random.default_rng(0)
    signal = triangle(rng.standard_normal(400), 0.05)
    values = correlations(signal[50:350], signal[43:343], 20)  # the second is late by 7
    place, peak = vertex(values)
    assert place - 20 == pytest.approx(7, abs=0.1)
    assert peak == pytest.approx(1, abs=0.01)
    assert (np.abs(values) <= 1 + 1e-12).all()
    assert np.allclose(without_drift(np.full(300, 3.0), 0.5), 0)


def test_only_the_band_counts():
    seconds = np.arange(16000) / 16000
    levels = [
        band_level(np.sin(2 * np.pi * hertz * seconds), 16000, 300, 3000)[10:90].mean()
        for hertz in (100, 1000, 5000)
    ]
    assert levels == pytest.approx([0, 0.5**0.5, 0], abs=0.01)


# --- can't tell -----------------------------------------------------------------------------------

NONE = Mouths(np.zeros((0, 0)), "no face was found")


def test_every_reason(head):
    """Each leaves the numbers out; a low confidence only the offset."""
    example, metric = head
    clip, found = example.clip, metric.analyse(example.clip)
    rng = torch.Generator().manual_seed(0)
    hiss = 0.1 * torch.randn(clip.waveform.shape, generator=rng)
    still = attrs.evolve(clip, frames=clip.frames[:1].expand_as(clip.frames).contiguous())
    short = attrs.evolve(clip, frames=clip.frames[:20], waveform=clip.waveform[:, :12800])
    middle = attrs.evolve(clip, frames=clip.frames[:30], waveform=clip.waveform[:, :19200])
    for what, reason in (
        (attrs.evolve(clip, waveform=torch.zeros_like(clip.waveform)), "no speech"),
        (attrs.evolve(clip, waveform=hiss), "no speech"),
        (short, "short"),
        (middle, "short"),
        (still, "no mouth moves"),
    ):
        other = metric.analyse(what)
        assert metric.score(other.video, other.audio) == {}
        assert reason in metric.reason(other.video, other.audio)
    assert metric.reason(NONE, found.audio) == "no face was found"
    assert metric.reason(found.video, found.audio) == ""
    strict = LipSync(attrs.evolve(metric.spec, certain=2.0))
    assert set(strict.score(found.video, found.audio)) == {"lip_correlation", "lip_confidence"}
    assert "confidence is low" in strict.reason(found.video, found.audio)


def test_the_cascade_finds_no_face_in_a_wall():
    frames = np.zeros((10, 120, 160, 3), np.uint8)
    assert find(frames, FPS, make_finder("haar")) == []


def test_finders(tmp_path):
    with pytest.raises(FileNotFoundError, match="opencv_zoo"):
        Lips(finder="yunet", model=str(tmp_path / "absent.onnx")).build()
    with pytest.raises(ValueError, match="finder"):
        Lips(finder="other").build()
    assert make_finder("harmony_lips.faces:Haar") is not None


@pytest.mark.parametrize("wrong", [(0.5, 0, 0.4, 1), (0, 0, 1), (0, 0, 1, 1.5)])
def test_boxes_outside_the_picture_are_refused(wrong):
    with pytest.raises(ValueError, match="boxes"):
        Lips(boxes=(wrong,))


def test_signals_share_their_clock(head):
    """Both have a value each STEP s of the clip."""
    found = head[1].analyse(head[0].clip)
    assert isinstance(found.audio, Speech)
    assert found.video.velocity.shape[1] == len(found.audio.rise) == round(3 / STEP)


def test_the_example_of_an_own_finder(head):
    file = Path(__file__).parent.parent / "examples" / "own_finder.py"
    own = runpy.run_path(str(file))
    late = example(take(103), 0.2).clip
    found = re.fullmatch(r"the sound is \+(\d+) ms late", own["describe_sync"](late))
    assert float(found[1]) == pytest.approx(200, abs=FRAME)
    assert own["describe_sync"](
        attrs.evolve(late, waveform=torch.zeros_like(late.waveform))
    ).startswith("can't tell: there is no speech")
