"""The codecs: their contracts, against diffusers, and what they refuse."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import attrs
import minimax_h3_toys as toys
import pytest
import torch
from diffusers.modular_pipelines.minimax_h3 import decoders, encoders, modular_pipeline
from hypothesis import given, settings
from hypothesis import strategies as st

from harmony_minimax_h3.audio import MiniMaxH3Audio
from harmony_minimax_h3.denoiser import MiniMaxH3
from harmony_minimax_h3.video import MEAN, STD, MiniMaxH3Video
from harmony_parts.testing.contracts.codecs import check_audio_codec, check_video_codec
from harmony_parts.testing.contracts.denoisers import check_denoiser
from harmony_parts.testing.stand_ins import StubEncoder

PIPELINE = modular_pipeline.MiniMaxH3ModularPipeline


@pytest.fixture(scope="module")
def codecs():
    return toys.parts().codecs


def frames_of(count: int, batch: int = 1, height: int = 32) -> torch.Tensor:
    """Random frames."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (batch, count, height, 64, 3), generator=generator, dtype=torch.uint8)


def test_the_denoiser_keeps_the_contract(codecs) -> None:
    """With a time for each latent, and an image in a latent's place."""
    check_denoiser(
        MiniMaxH3(config=toys.TRANSFORMER, precision="float32"),
        codecs=codecs,
        encoders={"text": StubEncoder(caption=toys.TEXT), "image": StubEncoder(image=toys.C)},
        latents=toys.AV(3, 9),
    )


def test_the_codecs_keep_the_contract() -> None:
    """In stereo and in mono."""
    check_video_codec(MiniMaxH3Video(config=toys.VIDEO), toys.FORMAT, frames=22)
    check_audio_codec(MiniMaxH3Audio(config=toys.AUDIO), toys.FORMAT, seconds=0.2)


@settings(deadline=None, derandomize=True, max_examples=50)
@given(frames=st.integers(2, 400))
def test_counts_are_those_of_the_pipeline(codecs, frames) -> None:
    """Frames are filled up to 17 n + 5; the clock has no gaps and ends with them."""
    video = codecs.video
    whole = modular_pipeline.align_num_frames(frames, 17, 5)
    latents = modular_pipeline.video_latent_num_frames(whole, 17, 5)
    assert video.latents(frames) == latents
    assert video.frames(latents) == whole
    clock = video.clock(latents)
    assert torch.equal(clock[1:, 0], clock[:-1, 1])
    assert float(clock[-1, 1]) == pytest.approx(whole / 24)
    lengths = (clock[:, 1] - clock[:, 0]) * 24
    assert torch.allclose(lengths, torch.tensor([1.0, 4, 4, 4, 4] * 99).double()[:latents])
    # the pipeline rounds to the nearest latent of sound; here the last one may be partly filled
    sounds = codecs.audio.latents(round(whole / 24 * 32000))
    assert 0 <= sounds - modular_pipeline.audio_latent_num_frames(whole) <= 1


@torch.no_grad()
def test_latents_and_frames_equal_diffusers(codecs) -> None:
    """Encoding as its pipeline encodes a reference, but for the sample that it draws; decoding as
    its last step.
    """
    video, frames = codecs.video, frames_of(22, batch=2)
    vae = video.frozen.models[0]
    latents = video.encode(frames)
    for n, clip in enumerate(frames):
        mode = SimpleNamespace(config=vae.config, encode=lambda x, return_dict: [Mode(vae, x)])
        want = encoders.encode_vae_condition(mode, clip.permute(3, 0, 1, 2)[None], MEAN, STD)
        # its pipeline rounds to float16 before it normalises
        assert torch.allclose(latents[n], want[0].permute(1, 2, 3, 0), atol=2e-3)
    z = torch.randn(1, toys.C, 7, *toys.GRID, generator=torch.Generator().manual_seed(1))
    made = video.decode(z.permute(0, 2, 3, 4, 1))
    want = decoded(vae, z)
    assert made.shape == (1, 22, 32, 64, 3)
    assert (made - want).abs().max() < 0.5 + 1e-3


class Mode:
    """A distribution whose samples are its mode."""

    def __init__(self, vae: Any, pixels: torch.Tensor) -> None:
        self._mode = vae.encode(pixels).latent_dist.mode()

    def sample(self, generator: torch.Generator) -> torch.Tensor:
        return self._mode


def decoded(vae: Any, z: torch.Tensor) -> torch.Tensor:
    """0..255 [B, F, H, W, 3] of the last step of the pipeline."""
    step, state = decoders.MiniMaxH3VideoDecodeStep(), SimpleNamespace(latents=z, output_type="pt")
    step.get_block_state, step.set_block_state = lambda _: state, lambda *_: None
    kept = SimpleNamespace(postprocess_video=lambda video, output_type: video)
    step(
        SimpleNamespace(
            vae=vae,
            _execution_device="cpu",
            pixel_mean=PIPELINE.pixel_mean.fget(None),
            pixel_std=PIPELINE.pixel_std.fget(None),
            video_processor=kept,
        ),
        None,
    )
    return state.videos.permute(0, 2, 3, 4, 1) * 255


@torch.no_grad()
def test_a_picture_is_the_first_latent(codecs) -> None:
    """Whatever follows; latents of less than a piece are the first of it, both ways."""
    video, frames = codecs.video, frames_of(22)
    first = video.encode(frames[:, :1])
    assert first.shape[1] == 1
    whole = video.encode(frames)
    assert torch.allclose(first, whole[:, :1], atol=1e-5)
    assert torch.allclose(video.encode(frames[:, :5]), whole[:, :2], atol=1e-5)
    for latents, count in ((1, 1), (2, 5), (3, 9), (5, 17), (6, 18)):
        made = video.decode(whole[:, :latents])
        assert made.shape[1] == video.frames(latents) == count


@torch.no_grad()
def test_tiles_equal_diffusers() -> None:
    """A picture larger than a tile is split, as diffusers does by itself with 256."""
    format = attrs.evolve(toys.FORMAT, height=128)
    tiled, plain = (
        MiniMaxH3Video(config=toys.VIDEO, tile=tile).build(format=format) for tile in (64, 0)
    )
    frames = frames_of(5, height=128)
    made, whole = tiled.encode(frames), plain.encode(frames)
    assert not torch.allclose(made, whole, atol=1e-3)
    plain.frozen.models[0].enable_tiling(64, 64, 16, 16)
    assert torch.equal(made, plain.encode(frames))
    default = MiniMaxH3Video(config=toys.VIDEO).build(format=format).frozen.models[0]
    assert default.use_tiling
    assert default.tile_sample_min_height == 256
    assert default.tile_sample_min_overlap_width == 64


@torch.no_grad()
def test_each_side_of_the_sound_equals_diffusers(codecs) -> None:
    """The left one is the first half of the channels; both directions."""
    audio = codecs.audio
    vae, config = audio.frozen.models[0], audio.frozen.models[0].config
    sound = torch.rand(1, 2, 4000, generator=torch.Generator().manual_seed(0)) - 0.5
    mean, std = (torch.tensor(each) for each in (config.latents_mean, config.latents_std))
    sides = vae.encode(sound.transpose(0, 1)).latent_dist.mode().transpose(1, 2)
    latents = audio.encode(sound)
    assert torch.equal(latents, torch.cat(list((sides - mean) / std), dim=1)[None])
    want = vae.decode(sides.transpose(1, 2)).sample.transpose(0, 1)
    assert torch.allclose(audio.decode(latents), want, atol=1e-5)
    assert audio.clock(2).tolist() == [[0.0, 0.025], [0.025, 0.05]]


@pytest.mark.parametrize(
    ("spec", "settings", "message"),
    [
        (MiniMaxH3Audio(config=toys.AUDIO), {"sample_rate": 44100}, "is for 32000 Hz: set format"),
        (
            MiniMaxH3Audio(config=toys.AUDIO),
            {"channels": 3},
            "3 channels of sound, the autoencoder 2",
        ),
        (MiniMaxH3Video(config=toys.VIDEO), {"height": 40}, "height 40 is not a multiple of 16"),
        (
            MiniMaxH3Video(config=toys.VIDEO | {"clip_length": 33}),
            {},
            "only 5 for 17, without 3, is supported",
        ),
    ],
)
def test_other_forms_are_refused(spec, settings, message) -> None:
    with pytest.raises(ValueError, match=message):
        spec.build(format=attrs.evolve(toys.FORMAT, **settings))
    with pytest.raises(ValueError, match="multiple of 64"):
        MiniMaxH3Video(tile=100)
