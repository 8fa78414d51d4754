"""Given media that are no clips: a still picture as a video, a sound without samples, a GIF."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile
import torch
from helpers import tiny_training as tiny
from PIL import Image

from harmony_parts.errors import HarmonyError
from harmony_parts.generate.pipeline import Pipeline
from harmony_parts.media.clip import Clip


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return Pipeline.assemble(tiny.recipe())


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp"])
def test_a_still_picture_as_the_video_is_said_to_be_an_image(harmony, trained, tmp_path, suffix):
    still = tmp_path / f"still.{suffix}"
    Image.new("RGB", (32, 32), (200, 10, 10)).save(still)
    result = harmony("generate", trained, "--video", still, "--out", tmp_path / "x.mp4")
    assert result.exit_code == 2
    assert "is a single picture: give it as `image` (--image)" in " ".join(result.output.split())


def test_a_sound_without_samples_is_refused(pipeline: Pipeline, tmp_path: Path) -> None:
    empty = tmp_path / "empty.wav"
    soundfile.write(empty, torch.zeros(0, 1).numpy(), 8000)
    for field in ("audio", "voice"):
        with pytest.raises(HarmonyError, match=r"empty.wav: .*has no sample"):
            pipeline.generate("rain", steps=1, **{field: empty})


def test_a_gif_as_video_and_as_image(pipeline: Pipeline, tmp_path: Path) -> None:
    frames = torch.zeros(8, 16, 16, 3, dtype=torch.uint8)
    frames[4:] = 200
    gif = Clip(frames, 10, None, 8000).save(tmp_path / "a.gif")
    made = pipeline.generate(video=gif, steps=1).save(tmp_path / "b.mp4")
    read = Clip.read(made)
    assert read.frames is not None
    assert read.waveform is not None
    assert len(read.frames) == 8
    assert pipeline.generate("rain", image=gif, steps=1).clip
