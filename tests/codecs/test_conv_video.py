"""The learned video codec: causal, one latent for an image, principal components at the start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from harmony_parts.av import Format
from harmony_parts.codecs.conv_networks import MOVING, VideoAutoencoder, moving
from harmony_parts.codecs.conv_video import ConvVideo, ConvVideoCodec
from harmony_parts.codecs.protocol import TrainableCodecSpec
from harmony_parts.testing.contracts.codecs import check_video_codec

FORMAT = Format(fps="24000/1001", height=16, width=24, sample_rate=8000, seconds=1.0)
WIDTH = 8


def fresh() -> VideoAutoencoder:
    """A network none of whose weights are zero, as the last layers' are before training."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = VideoAutoencoder(16, WIDTH)
        for parameter in network.parameters():
            parameter.data += 0.05 * torch.randn(parameter.shape)
    return network


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> ConvVideo:
    file = tmp_path_factory.mktemp("codec") / "codec.safetensors"
    save_file({name: x.half() for name, x in fresh().state_dict().items()}, file)
    return ConvVideo(weights=str(file), width=WIDTH)


@pytest.fixture(scope="module")
def codec(spec: ConvVideo) -> ConvVideoCodec:
    return spec.build(format=FORMAT)


def noise(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def test_the_contract_holds(spec: ConvVideo) -> None:
    assert isinstance(spec, TrainableCodecSpec)
    check_video_codec(spec, FORMAT)


@pytest.mark.parametrize("at", [1, 2, 4])
def test_no_latent_depends_on_later_frames_and_no_frame_on_later_latents(
    codec: ConvVideoCodec, at: int
) -> None:
    frames = noise(1, 17, 16, 24, 3)
    other = frames.clone()
    other[:, codec.frames(at) :] = noise(1, 17, 16, 24, 3, seed=1)[:, codec.frames(at) :]
    latents, changed = codec.encode(frames), codec.encode(other)
    same = (latents - changed).abs().amax((0, 2, 3, 4))
    assert same[:at].max() <= 1e-5
    assert same[at:].min() > 1e-2
    edited = latents.clone()
    edited[:, at:] += 1
    decoded, after = codec.decode(latents).int(), codec.decode(edited).int()
    assert (decoded - after)[:, : codec.frames(at)].abs().max() <= 1
    assert (decoded - after)[:, codec.frames(at) :].abs().amax((0, 2, 3, 4)).min() > 1


def test_a_latent_depends_on_the_two_before(codec: ConvVideoCodec) -> None:
    """Otherwise nothing of the picture would be remembered."""
    frames = noise(1, 17, 16, 24, 3)
    other = frames.clone()
    other[:, :1] = 255 - other[:, :1]
    apart = (codec.encode(frames) - codec.encode(other)).abs().amax((0, 2, 3, 4))
    assert apart[:3].min() > 1e-2


def test_an_image_is_one_latent_and_a_repeated_image_has_it_at_every_position(
    codec: ConvVideoCodec,
) -> None:
    image = noise(1, 1, 16, 24, 3)
    latent = codec.encode(image)
    assert latent.shape[1] == 1
    still = codec.encode(image.expand(-1, 13, -1, -1, -1))
    assert torch.allclose(still, latent.expand_as(still), atol=1e-4)


def test_training_begins_with_the_principal_components_of_blocks() -> None:
    """The error of the linear codec is the variance of the components that it leaves out."""
    generator = torch.Generator().manual_seed(0)
    # clips of few degrees of freedom, so that 16 components carry most of them
    basis = torch.rand(40, 4 * 8 * 8 * 3, generator=generator)
    mixed = (torch.randn(300, 40, generator=generator) * 0.8 ** torch.arange(40)) @ basis
    clips = (127 + 12 * mixed).clamp(0, 255).to(torch.uint8).unflatten(1, (4, 3, 8, 8))
    media = list(clips.permute(0, 1, 3, 4, 2))  # 300 clips of four frames, each of one block
    network = VideoAutoencoder(16, WIDTH)
    network.begin(media, generator)
    blocks = torch.stack(media).float() / 127.5 - 1
    with torch.no_grad():
        x = blocks.permute(0, 1, 4, 2, 3).flatten(1, 2)
        latents = network.encoder.skip(x)
        decoded = network.decoder.skip(latents)
    flat = blocks.double().permute(0, 1, 4, 2, 3).flatten(1).numpy()
    left = np.linalg.eigvalsh(np.cov(flat.T))[:-16].sum() / flat.shape[1]
    error = float((decoded - x).square().mean())
    # its components are those of a sample
    assert left < error < 4 * left < np.var(flat) / 100
    assert latents.std((0, 2, 3)) == pytest.approx([1.0] * 16, abs=0.15)


def test_moving_pixels_and_their_neighbours_weigh_more() -> None:
    video = torch.zeros(1, 5, 9, 9, 3)
    video[:, 3, 4, 4] = 1
    weight = moving(video)[0, ..., 0]
    assert weight[2, 3:6, 3:6].eq(1 + MOVING).all()  # in the frame before the change
    assert weight[3:5, 3:6, 3:6].eq(1 + MOVING).all()
    assert weight[:2].eq(1).all()
    assert weight[:, 0].eq(1).all()


def test_a_frozen_encoder_keeps_its_scale() -> None:
    """Its latents are those of models that exist already."""
    for frozen in (True, False):
        network = fresh()
        network.encoder.requires_grad_(not frozen)
        before = network.mean.clone(), network.variance.clone()
        network.loss(noise(2, 5, 16, 16, 3), torch.Generator().manual_seed(0))[0].backward()
        same = torch.equal(network.mean, before[0]) and torch.equal(network.variance, before[1])
        assert same == frozen


def test_the_loss_draws_only_from_the_generator() -> None:
    frames, losses = noise(1, 5, 16, 16, 3), []
    for global_seed, seed in ((0, 0), (1, 0), (0, 1)):
        network = fresh()
        torch.manual_seed(global_seed)
        losses.append(network.loss(frames, torch.Generator().manual_seed(seed))[0].item())
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": ""}, "no weights without a file: train some with `harmony train-codec"),
        ({"weights": "absent.safetensors"}, "there is no file 'absent.safetensors'"),
        ({"width": 16}, "are those of another codec: .* such as decoder"),
        ({"channels": 8}, "set the codec's sizes to those that it was trained with"),
    ],
)
def test_missing_or_other_weights_are_an_error(
    spec: ConvVideo, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        attrs.evolve(spec, **change).build(format=FORMAT)


def test_a_damaged_file_is_an_error(spec: ConvVideo, tmp_path: Path) -> None:
    (tmp_path / "cut").write_bytes(Path(spec.weights).read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"cut' can't be read"):
        attrs.evolve(spec, weights=str(tmp_path / "cut")).build(format=FORMAT)


def test_sizes_that_do_not_fit_are_an_error(spec: ConvVideo, codec: ConvVideoCodec) -> None:
    with pytest.raises(ValueError, match="height 20 is not a multiple of 8"):
        spec.build(format=attrs.evolve(FORMAT, height=20))
    with pytest.raises(ValueError, match="width is a positive multiple of 8, not 12"):
        ConvVideo(width=12)
    with pytest.raises(ValueError, match="frames are uint8"):
        codec.encode(torch.zeros(1, 1, 16, 16, 3, dtype=torch.uint8))
    with pytest.raises(ValueError, match="latents are"):
        codec.decode(torch.zeros(1, 1, 2, 2, 16))
    with pytest.raises(ValueError, match=r"not \[1, 0, "):
        codec.decode(torch.zeros(1, 0, *codec.grid, 16))


def test_it_is_built_without_a_file_on_the_meta_device() -> None:
    with torch.device("meta"):
        codec = ConvVideo().build(format=FORMAT)
    assert codec.network.mean.is_meta
    assert sum(p.numel() for p in codec.network.parameters()) == pytest.approx(2.05e6, rel=0.05)
