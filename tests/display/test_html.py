"""What a notebook shows of latents and clips: their shapes, and pictures that it can draw."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from harmony_parts.av import AV
from harmony_parts.display.pictures import film_strip, in_colours, in_grey, wave
from harmony_parts.media.clip import Clip


def pictures(html: str) -> list[Image.Image]:
    """The pictures of an HTML text, decoded."""
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    return [Image.open(io.BytesIO(base64.b64decode(data))) for data in found]


def test_av_shows_shapes_in_place_of_numbers() -> None:
    latents = AV(torch.zeros(2, 3, 4, 5, 6), torch.zeros(2, 7, 8, dtype=torch.bfloat16))
    assert repr(latents) == "AV(video=float32 [2, 3, 4, 5, 6], audio=bfloat16 [2, 7, 8])"
    assert repr(AV(audio=np.zeros((1, 2)))) == "AV(audio=float64 [1, 2])"
    assert repr(AV(0.5, 1.0)) == "AV(video=0.5, audio=1.0)"
    assert repr(AV(torch.zeros(1, device="meta"))) == "AV(video=float32 [1] on meta)"
    assert repr(AV()) == "AV()"


def test_latents_are_drawn_for_each_clip() -> None:
    latents = AV(torch.randn(2, 3, 4, 5, 6), torch.randn(2, 7, 8))
    html = latents._repr_html_()
    assert f"<code>{latents!r}</code>" in html
    assert [image.size for image in pictures(html)] == [(480, 128)] * 2 + [(720, 96)] * 2
    assert len(pictures(AV(audio=torch.randn(50, 7, 8))._repr_html_())) == 4
    assert not pictures(AV(audio=torch.randn(50, 7, 8)).map(lambda x: x.shape)._repr_html_())
    assert not pictures(AV(torch.zeros(1, 2, 3, 4, 5, device="meta"))._repr_html_())
    assert "&lt;" in AV(audio="<b>")._repr_html_()


@pytest.mark.parametrize("bad", [0.0, float("nan"), float("inf")])
def test_constant_and_broken_latents_are_drawn(bad: float) -> None:
    latents = AV(torch.full((1, 2, 3, 4, 5), bad), torch.full((1, 2, 3), bad))
    assert len(pictures(latents._repr_html_())) == 2


@given(st.integers(1, 5), st.integers(1, 6))
def test_colours_are_components_and_grey_is_channels(length: int, channels: int) -> None:
    values = np.random.default_rng(length).normal(size=(length, channels)).astype(np.float32)
    assert in_colours(values).shape == (length, 3)
    grey = in_grey(values)
    assert grey.shape == (channels, length, 3)
    assert length == 1 or (grey.min(axis=1) == 0).all()
    assert length == 1 or (grey.max(axis=1) == 255).all()


def test_the_first_component_is_what_varies_most() -> None:
    values = np.zeros((100, 8))
    values[:, 5] = np.arange(100)
    red = in_colours(values)[:, 0].astype(int)
    assert abs(red[-1] - red[0]) == 255
    assert (np.diff(red * np.sign(red[-1] - red[0])) >= 0).all()


def test_a_clip_is_a_strip_above_its_wave() -> None:
    clip = Clip(torch.zeros(20, 16, 32, 3, dtype=torch.uint8), 10, torch.zeros(2, 400), 200)
    words = "Clip(20 frames of 32 x 16 at 10 fps, 2 s of stereo sound at 200 Hz)"
    assert repr(clip) == words
    strip, sound = pictures(clip._repr_html_())
    assert strip.size == (720, 45)
    assert sound.size == (720, 48)
    (only,) = pictures(Clip(waveform=torch.zeros(1, 0))._repr_html_())
    assert only.size == (720, 48)
    assert repr(Clip(clip.frames[:1], 30000 / 1001)) == "Clip(1 frame of 32 x 16 at 29.97 fps)"


def test_a_strip_has_its_frames_in_order_and_a_wave_its_loudest_place() -> None:
    frames = (np.arange(16, dtype=np.uint8) * 16)[:, None, None, None].repeat(8, 1).repeat(8, 2)
    strip = np.asarray(film_strip(frames.repeat(3, 3), 160, 8))
    assert strip[10, 10::20, 0].tolist() == [0, 32, 64, 96, 144, 176, 208, 240]
    samples = np.zeros(1000)
    samples[700] = 0.01
    drawn = (np.asarray(wave(samples, 100, 40)) != 255).any(axis=-1).sum(axis=0)
    assert drawn.argmax() == 70
