"""`Pipeline.encode` brings clips to the model's format, or says what their lengths are."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
import torch
from helpers import tiny_training as tiny
from hypothesis import given
from hypothesis import strategies as st

from harmony_parts.errors import RequestError
from harmony_parts.generate.generated import Generated
from harmony_parts.generate.in_format import clips_in
from harmony_parts.generate.pipeline import Pipeline
from harmony_parts.latents.encode import encode_clips
from harmony_parts.media.clip import Clip

PIPELINE = Pipeline.assemble(tiny.recipe())  # 8 fps, 16 x 16, 4000 Hz


def ramp(seconds: float, fps: float, rate: int, size: int = 16, channels: int = 1) -> Clip:
    """Brightness that rises evenly over 2 s, and a tone of 100 Hz."""
    count, samples = round(seconds * fps), round(seconds * rate)
    grey = ((torch.arange(count) + 0.5) / fps / 2 * 255).to(torch.uint8)
    tone = torch.sin(torch.arange(samples) / rate * 100 * 2 * torch.pi) / 2
    return Clip(
        grey[:, None, None, None].expand(count, size, size, 3).contiguous(),
        fps,
        tone.expand(channels, -1).contiguous(),
        rate,
    )


@given(st.sampled_from([4, 8, 12, 24, 30]), st.sampled_from([4000, 8000, 16000]), st.integers(1, 2))
def test_a_clip_of_any_rate_lasts_as_long_as_it_does(fps: int, rate: int, channels: int) -> None:
    """2 s are 2 s: once, 30 frames a second of 2 s became 7.5 s at 8."""
    clip = ramp(2.0, fps, rate, channels=channels)
    latents = PIPELINE.encode([clip])
    like = PIPELINE.shapes(16)
    assert tuple(latents["video"].shape[1:]) == like.video
    assert tuple(latents["audio"].shape[1:]) == like.audio
    (back,) = PIPELINE.decode(latents, 16)
    grey = back.frames.float().mean(dim=(1, 2, 3))
    want = (torch.arange(16) + 0.5) / 8 / 2 * 255
    # half an old frame, and what the codec loses
    assert (grey - want).abs().max() < 255 / 4 / fps + 8


def test_a_clip_in_the_format_is_taken_as_it_is() -> None:
    clip = ramp(1.0, 8, 4000)
    mine, plain = PIPELINE.encode([clip]), encode_clips([clip], PIPELINE.codecs, PIPELINE.device)
    assert all(torch.equal(mine[s], plain[s]) for s in ("video", "audio"))


def test_files_and_generated_clips_are_clips(tmp_path: Path) -> None:
    clip = ramp(1.0, 12, 8000, size=32)
    file = clip.save(tmp_path / "x.mkv")
    want = PIPELINE.encode([clip])
    got = PIPELINE.encode([Generated(clip)])
    assert all(torch.equal(got[s], want[s]) for s in ("video", "audio"))
    read = PIPELINE.encode([file])
    assert read["video"].shape == want["video"].shape
    assert read["audio"].shape == want["audio"].shape


def test_one_clip_is_given_in_a_list(tmp_path: Path) -> None:
    for one in (str(tmp_path), tmp_path, Clip(waveform=torch.zeros(1, 9), sample_rate=9)):
        with pytest.raises(RequestError, match=r"give a list of clips or files, such as \["):
            PIPELINE.encode(one)


def test_lengths_that_differ_are_told() -> None:
    two, one = ramp(2.0, 30, 16000), ramp(1.0, 8, 4000)
    with pytest.raises(
        RequestError, match=r"video lasts 2 s, 1 s \(16, 8 frames at 8 fps in the model's format\)"
    ):
        PIPELINE.encode([two, one])
    heard = [attrs.evolve(clip, frames=None) for clip in (two, one)]
    with pytest.raises(RequestError, match=r"audio lasts 2 s, 1 s \(8000, 4000 samples"):
        PIPELINE.encode(heard)
    PIPELINE.encode([two, ramp(2.0, 8, 4000)])


def test_what_cannot_be_encoded_is_named() -> None:
    clip = ramp(1.0, 8, 4000)
    nan = attrs.evolve(clip, waveform=torch.full((1, 4000), torch.nan))
    with pytest.raises(RequestError, match="clip 2 has samples that aren't finite"):
        PIPELINE.encode([clip, nan])
    with pytest.raises(RequestError, match="clip 1 has no stream that the model has: audio"):
        clips_in([attrs.evolve(clip, waveform=None)], PIPELINE.format, ("audio",))
