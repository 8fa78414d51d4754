"""The contracts of the denoiser and of the codec of sound."""

from __future__ import annotations

from typing import Any

import attrs
import cosmos3_toys as toys
import pytest
import torch

from harmony_cosmos3.audio import Cosmos3Audio
from harmony_cosmos3.denoiser import Cosmos3
from harmony_parts.av import AV
from harmony_parts.testing.contracts.codecs import check_audio_codec
from harmony_parts.testing.contracts.denoisers import check_denoiser
from harmony_parts.testing.stand_ins import StubCodec, StubEncoder

CODECS: AV[Any] = AV(StubCodec(toys.C, toys.GRID, 6.0), StubCodec(toys.SOUND, (), 25.0))


def test_the_denoiser_keeps_the_contract() -> None:
    """With a time for each latent, and an image in a latent's place."""
    check_denoiser(
        Cosmos3(config=toys.TRANSFORMER, precision="float32"),
        codecs=CODECS,
        encoders={"text": StubEncoder(caption=1), "image": StubEncoder(image=toys.C)},
        latents=AV(3, 9),
    )


def test_the_codec_of_sound_keeps_the_contract() -> None:
    """In stereo and in mono; noise is the same at any loudness, and samples are independent."""
    codec = check_audio_codec(Cosmos3Audio(config=toys.AUDIO), toys.FORMAT, seconds=0.2)
    sound = torch.rand(1, 2, 4000, generator=torch.Generator().manual_seed(0)) - 0.5
    both = codec.encode(torch.cat([sound, 0.5 * sound]))
    assert torch.allclose(both[0], both[1], atol=1e-4)
    assert torch.allclose(both[:1], codec.encode(sound), atol=1e-6)


def test_the_codec_equals_diffusers() -> None:
    """Latents and both channels; mono sound is both sides, and becomes the mean of both."""
    codec = Cosmos3Audio(config=toys.AUDIO).build(format=toys.FORMAT)
    vae = codec.frozen.models[0]
    sound = torch.rand(1, 2, 4000, generator=torch.Generator().manual_seed(0)) - 0.5
    with torch.no_grad():
        latents = vae.encode(sound).latent_dist.mode()
        assert torch.equal(codec.encode(sound), latents.transpose(1, 2))
        assert torch.equal(codec.decode(latents.transpose(1, 2)), vae.decode(latents))
    assert codec.clock(2).tolist() == [[0.0, 0.04], [0.04, 0.08]]
    mono = Cosmos3Audio(config=toys.AUDIO).build(format=attrs.evolve(toys.FORMAT, channels=1))
    vae = mono.frozen.models[0]
    with torch.no_grad():
        latents = vae.encode(sound[:, :1].expand(-1, 2, -1)).latent_dist.mode()
        assert torch.equal(mono.encode(sound[:, :1]), latents.transpose(1, 2))
        mean = vae.decode(latents).mean(1, keepdim=True)
        assert torch.equal(mono.decode(latents.transpose(1, 2)), mean)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sample_rate": 44100}, "is for 48000 Hz: set format.sample_rate"),
        ({"channels": 3}, "3 channels of sound, the autoencoder 2"),
    ],
)
def test_other_formats_are_refused(settings, message) -> None:
    import attrs

    with pytest.raises(ValueError, match=message):
        Cosmos3Audio(config=toys.AUDIO).build(format=attrs.evolve(toys.FORMAT, **settings))


def test_weights_without_an_encoder_say_so() -> None:
    """They generate; given sound and silence need the encoder."""
    codec = Cosmos3Audio(config=toys.AUDIO | {"encoder_enabled": False}).build(format=toys.FORMAT)
    assert codec.decode(torch.zeros(1, 2, toys.SOUND)).shape == (1, 2, 3840)
    with pytest.raises(ValueError, match="decoder-only weights and cannot encode"):
        codec.encode(torch.zeros(1, 2, 4000))
