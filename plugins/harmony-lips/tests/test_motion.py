"""Degree and smoothness: known motions, monotonic in speed and jitter, and real clips."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from harmony_lips.motion import FlowMotion

from harmony_parts.assembly.catalogue import Catalogue
from harmony_parts.media.clip import Clip
from harmony_parts.testing.contracts.metrics import check_metric

FPS = 10.0
SIDE = 128
METRIC = FlowMotion().build()


def texture() -> np.ndarray:
    """Smooth noise of high contrast, grey [2 SIDE, 2 SIDE]."""
    noise = np.random.default_rng(0).uniform(0, 255, (2 * SIDE, 2 * SIDE)).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), 2)
    return np.clip((noise - noise.mean()) * 8 + 128, 0, 255)


def moving(places, patch: bool = False) -> np.ndarray:
    """Frames [T, SIDE, SIDE, 3] of the texture so many pixels to the right; or of a patch of it in
    front of grey."""
    frames = []
    for place in places:
        shift = np.float32([[1, 0, place - SIDE / 2], [0, 1, -SIDE / 2]])
        frame = cv2.warpAffine(texture(), shift, (SIDE, SIDE))
        if patch:
            mask = np.zeros((SIDE, SIDE), np.float32)
            mask[40:90, 10:60] = 1
            there = np.float32([[1, 0, place], [0, 1, 0]])
            mask = cv2.warpAffine(mask, there, (SIDE, SIDE))
            frame = mask * frame + (1 - mask) * 128
        frames.append(np.repeat(np.round(frame).astype(np.uint8)[..., None], 3, -1))
    return np.stack(frames)


def numbers(frames: np.ndarray, fps: float = FPS) -> dict[str, float]:
    return METRIC.score(METRIC.moved(frames, fps), None)


def test_contract():
    check_metric(FlowMotion(), clips=[Clip(torch.from_numpy(moving(range(6))), FPS,
                                           torch.zeros(1, 9600), 16000)])  # fmt: skip
    assert Catalogue.discover(only=["lips"]).load("metric", "flow-motion") is FlowMotion


def test_a_still_picture_has_degree_0_and_no_smoothness():
    frames = moving([0] * 8)
    assert numbers(frames) == {"flow_degree": 0}
    assert "nothing moves" in METRIC.reason(METRIC.moved(frames, FPS), None)
    assert "three frames" in METRIC.reason(METRIC.moved(frames[:2], FPS), None)


@pytest.mark.parametrize("patch", [False, True])
def test_the_degree_is_the_speed(patch):
    """Pixels a frame, times frames a second, over the side; it grows with the speed."""
    found = [numbers(moving(np.arange(8) * speed, patch))["flow_degree"] for speed in (1, 2, 3, 4)]
    for speed, degree in zip((1, 2, 3, 4), found):
        assert degree == pytest.approx(speed * FPS / SIDE, rel=0.25)
    assert found == sorted(found)


def test_the_degree_is_of_seconds_and_shares():
    """At half the rate half the speed; twice as large, the same."""
    frames = moving(np.arange(8) * 2.0)
    degree = numbers(frames)["flow_degree"]
    assert numbers(frames, FPS / 2)["flow_degree"] == pytest.approx(degree / 2)
    large = np.stack([cv2.resize(frame, (320, 320)) for frame in frames])
    assert numbers(large)["flow_degree"] == pytest.approx(degree, rel=0.1)


@pytest.mark.parametrize("patch", [False, True])
def test_jitter_is_less_smooth(patch):
    """Steady motion is near 1, and the more it jitters, the lower; to and fro is near 0."""
    steady = 2.0 * np.arange(14)
    jitter = np.where(np.arange(14) % 2, 1.0, -1.0)
    found = [
        numbers(moving(steady + size * jitter, patch))["flow_smoothness"]
        for size in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    print(patch, np.round(found, 3))
    assert found[0] > 0.85
    assert found == sorted(found, reverse=True)
    assert found[0] - found[-1] > 0.4
    assert numbers(moving(jitter, patch))["flow_smoothness"] < 0.15


def test_every_other_frame_repeated_is_not_smooth():
    places = 4.0 * (np.arange(14) // 2)
    assert numbers(moving(places))["flow_smoothness"] < 0.15


# --- real clips -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cat(clips: Path) -> np.ndarray:
    """2 s of a cat that plays."""
    return Clip.read(clips / "mova_cat.mp4", seconds=2).frames.numpy()


def test_a_cat_that_plays_moves_more_than_a_face_that_talks(clips, cat):
    talk = Clip.read(clips / "grid_bbaf2n.mpg", seconds=2)
    face, play = numbers(talk.frames.numpy(), 25), numbers(cat, 24)
    print(face, play)
    assert play["flow_degree"] > 2 * face["flow_degree"]
    assert numbers(np.repeat(cat[:1], 12, 0), 24) == {"flow_degree": 0}


def test_a_real_clip_that_stutters_or_shakes_is_less_smooth(cat):
    """Each frame twice, at the same rate of frames; and the picture shaken by 3 pixels."""
    own = numbers(cat, 24)
    stutter = numbers(np.repeat(cat[::2], 2, 0), 24)
    shaken = np.stack([np.roll(frame, 3 * (-1) ** k, 1) for k, frame in enumerate(cat)])
    shake = numbers(shaken, 24)
    fast = numbers(cat[::2], 24)
    print(own, stutter, shake, fast)
    assert stutter["flow_smoothness"] < own["flow_smoothness"] - 0.1
    assert shake["flow_smoothness"] < own["flow_smoothness"] - 0.1
    assert fast["flow_degree"] > 1.3 * own["flow_degree"]
