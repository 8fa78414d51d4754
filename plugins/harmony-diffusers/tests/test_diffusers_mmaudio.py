"""mmaudio-vae: latents and sound against diffusers called directly."""

from __future__ import annotations

import math

import attrs
import diffusers_toys as toys
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harmony_diffusers.mmaudio_vae import MMAudio


@pytest.fixture(scope="module", params=["16k", "44k"])
def mmaudio(request):
    return toys.build_sound(toys.mmaudio(request.param), toys.SOUND)


@torch.no_grad()
def test_mmaudio_equals_diffusers(mmaudio):
    """Encoding and decoding with diffusers' classes; the 16 kHz form has log10 and a final tanh."""
    from diffusers import MMAudioVAE, MMAudioVocoder
    from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

    whole = MMAudioVAE(**toys.MEL).eval()
    whole.vae.load_state_dict(mmaudio._vae.state_dict())
    sound = toys.noise(1000, batch=2)
    padded = torch.nn.functional.pad(sound[:, 0], (0, 24))
    if mmaudio.spec.form == "44k":
        direct = whole.encode(padded).latent_dist.mode()
    else:
        direct = DiagonalGaussianDistribution(
            whole.vae.encode(whole.mel_converter(padded) / math.log(10))
        ).mode()
    latents = mmaudio.encode(sound)
    assert latents.shape == (2, 8, 4)
    assert latents.dtype == torch.float32
    assert torch.allclose(latents, direct.transpose(1, 2), atol=1e-5)

    vocoder, weights = MMAudioVocoder(**toys.VOCODER).eval(), mmaudio._vocoder.state_dict()
    bias = weights.pop("conv_post.bias", None)
    assert (bias is not None) == (mmaudio.spec.form == "16k")
    vocoder.load_state_dict(weights)
    mel = whole.decode(latents.transpose(1, 2)).sample
    made = mmaudio.decode(latents)
    assert made.shape == (2, 1, 1024)
    if bias is None:
        assert torch.equal(made, vocoder(mel).sample)
    else:
        before = {}
        vocoder.conv_post.register_forward_hook(lambda module, args, out: before.update(out=out))
        vocoder(mel)
        assert torch.allclose(made, torch.tanh(before["out"] + bias), atol=1e-6)


def test_each_channel_is_coded_as_mono(mmaudio):
    """One's latents after the other's; rows of a batch sum in another order."""
    stereo = toys.build_sound(mmaudio.spec, attrs.evolve(toys.SOUND, channels=2))
    sound = toys.noise(1000, batch=2, channels=2)
    latents = stereo.encode(sound)
    assert latents.shape == (2, 8, 2 * mmaudio.channels)
    made = stereo.decode(latents)
    for side, of_side in enumerate(latents.split(mmaudio.channels, dim=2)):
        alone = mmaudio.encode(sound[:, side : side + 1])
        assert torch.allclose(of_side, alone, atol=1e-5)
        assert torch.allclose(made[:, side : side + 1], mmaudio.decode(alone), atol=1e-5)
    assert not torch.allclose(made[:, 0], made[:, 1], atol=1e-3)


def test_scale_multiplies_latents_and_is_divided_out():
    plain, scaled = (
        toys.build_sound(toys.mmaudio(), toys.SOUND),
        toys.build_sound(toys.mmaudio(scale=0.5), toys.SOUND),
    )
    latents = plain.encode(toys.noise(1000))
    assert torch.equal(scaled.encode(toys.noise(1000)), latents * 0.5)
    assert torch.equal(scaled.decode(latents * 0.5), plain.decode(latents))


@toys.few
@given(samples=st.integers(1, 20_000))
def test_mmaudio_uses_the_fewest_latents_and_has_their_clock(mmaudio, samples):
    """Consecutive latents of two hops each."""
    latents = mmaudio.latents(samples)
    assert mmaudio.samples(latents) >= samples > mmaudio.samples(latents - 1)
    clock = mmaudio.clock(latents)
    assert torch.equal(clock[1:, 0], clock[:-1, 1])
    assert clock.dtype == torch.float64
    assert torch.allclose(
        clock[:, 1] - clock[:, 0],
        torch.full((latents,), 128 / 4000, dtype=torch.float64),
        atol=1e-12,
    )
    assert float(clock[-1, 1]) == mmaudio.samples(latents) / 4000


@pytest.mark.parametrize(
    ("form", "rate", "vae", "vocoder", "channels", "per_second"),
    [
        ("16k", 16000, 171_657_218, 112_199_473, 20, 31.25),
        ("44k", 44100, 305_479_682, 122_152_752, 40, 44100 / 1024),
    ],
)
def test_mmaudio_is_counted_at_full_size_without_weights(
    form, rate, vae, vocoder, channels, per_second
):
    """On the meta device; five seconds at 16 kHz are Ovi's 157 latents."""
    with torch.device("meta"):
        codec = MMAudio(form=form).build(format=attrs.evolve(toys.SOUND, sample_rate=rate))
    assert [
        sum(weight.numel() for weight in model.parameters()) for model in codec.frozen.models
    ] == [vae, vocoder]
    assert codec.channels == channels
    assert float(1 / codec.clock(1)[0, 1]) == pytest.approx(per_second)
    assert form == "44k" or codec.latents(80_000) == 157


def test_mmaudio_refuses_mismatched_settings_and_shapes():
    """Another rate, a vocoder of another hop, only one config, no weights, other shapes."""
    with pytest.raises(
        ValueError, match=r"at 16000 Hz, but this autoencoder is for 4000 Hz.*format.sample_rate"
    ):
        toys.mmaudio().build(format=toys.VIDEO)
    with pytest.raises(ValueError, match="32 samples per mel frame"):
        toys.mmaudio(vocoder_config=toys.VOCODER | {"upsample_rates": [8, 4]}).build(
            format=toys.SOUND
        )
    with pytest.raises(ValueError, match="give both"):
        MMAudio(config=toys.MEL)
    with pytest.raises(ValueError, match=r"`model` is empty.*convert_mmaudio"):
        MMAudio().build(format=toys.SOUND)
    codec = toys.build_sound(toys.mmaudio(), toys.SOUND)
    for wrong in (torch.zeros(1, 10), torch.zeros(1, 1, 10, dtype=torch.int16)):
        with pytest.raises(ValueError, match="a waveform is floating point"):
            codec.encode(wrong)
    with pytest.raises(ValueError, match="latents are"):
        codec.decode(torch.zeros(1, 3, 5))
    with pytest.raises(ValueError, match="at least one sample"):
        codec.latents(0)
