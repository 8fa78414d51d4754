"""ltx2-audio: latents and sound against diffusers called directly."""

from __future__ import annotations

import attrs
import diffusers_toys as toys
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harmony_diffusers.ltx2_audio import LTX2Audio
from harmony_diffusers.mel import MelSpectrum


@pytest.fixture(scope="module")
def ltx2():
    return toys.build_sound(toys.ltx2(), toys.AT_24K)


@torch.no_grad()
@pytest.mark.parametrize("channels", [1, 2])
def test_ltx2_equals_diffusers(channels):
    """From the mel spectrum of each side on, packed and normalised as in its pipeline.

    Mono sound is both sides, and becomes the mean of both.
    """
    from diffusers import LTX2Pipeline
    from torchaudio.functional import resample

    ltx2 = toys.build_sound(toys.ltx2(), attrs.evolve(toys.AT_24K, channels=channels))
    vae = ltx2._vae
    # 0.5 s at 24 kHz: 50 mel frames, so 14 latents of 53
    sound = toys.noise(12_000, batch=2, channels=channels)
    padded = torch.nn.functional.pad(resample(sound, 24000, 16000), (0, 480))
    spectrum = MelSpectrum(16000, 1024, 160, 16, margin=512, power=0.0)
    sides = [spectrum(padded[:, side])[..., :53].transpose(1, 2) for side in (0, channels - 1)]
    z = LTX2Pipeline._pack_audio_latents(vae.encode(torch.stack(sides, 1)).latent_dist.mode())
    direct = LTX2Pipeline._normalize_audio_latents(z, vae.latents_mean, vae.latents_std)
    latents = ltx2.encode(sound)
    assert latents.shape == (2, 14, 8)
    assert torch.allclose(latents, direct, atol=1e-6)

    z = LTX2Pipeline._denormalize_audio_latents(latents, vae.latents_mean, vae.latents_std)
    stereo = ltx2._vocoder(
        vae.decode(LTX2Pipeline._unpack_audio_latents(z, 14, num_mel_bins=4)).sample
    )
    made = ltx2.decode(latents)
    assert stereo.shape == (2, 2, 53 * 240)
    assert torch.equal(made, stereo.mean(1, keepdim=True) if channels == 1 else stereo)


@torch.no_grad()
def test_the_vocoder_with_bandwidth_extension_equals_diffusers(tmp_path):
    """At 48 kHz from a folder, whose vocoder says which it is, and resampled to another rate."""
    from diffusers import AutoencoderKLLTX2Audio, LTX2Pipeline
    from diffusers.pipelines.ltx2 import LTX2VocoderWithBWE

    at = attrs.evolve(toys.AT_24K, channels=2, sample_rate=48000)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        AutoencoderKLLTX2Audio(**toys.LTX_MEL).save_pretrained(tmp_path / "audio_vae")
        vocoder = LTX2VocoderWithBWE(**toys.LTX_EXTENDED)
        vocoder.mel_stft.mel_basis.uniform_()  # a filter bank, which only weights have
        vocoder.mel_stft.stft_fn.forward_basis.normal_(std=0.1)
    vocoder.save_pretrained(tmp_path / "vocoder")
    codec = LTX2Audio(model=str(tmp_path)).build(format=at)
    z = torch.randn(2, 14, 8, generator=torch.Generator().manual_seed(1))
    mel = codec._vae.decode(
        LTX2Pipeline._unpack_audio_latents(
            LTX2Pipeline._denormalize_audio_latents(
                z, codec._vae.latents_mean, codec._vae.latents_std
            ),
            14,
            num_mel_bins=4,
        )
    ).sample
    made = codec.decode(z)
    assert made.shape == (2, 2, 53 * 480)
    assert torch.equal(made, vocoder.eval()(mel))
    vocoder.mel_stft.mel_basis.zero_()
    assert not torch.allclose(made, vocoder(mel), atol=1e-6)
    assert LTX2Audio(model=str(tmp_path)).build(format=toys.AT_24K).decode(z).shape[2] == 53 * 240
    random = toys.ltx2(vocoder_config=toys.LTX_EXTENDED).build(format=at)
    assert isinstance(random._vocoder, LTX2VocoderWithBWE)


def test_the_clock_of_ltx2_equals_diffusers_positions(ltx2):
    """The seconds of diffusers' positions of sound latents (float32)."""
    from diffusers.models.transformers.transformer_ltx2 import LTX2AudioVideoRotaryPosEmbed

    positions = LTX2AudioVideoRotaryPosEmbed(
        dim=8, modality="audio", sampling_rate=16000, hop_length=160, scale_factors=(4,)
    )
    direct = positions.prepare_audio_coords(batch_size=1, num_frames=50, device=torch.device("cpu"))
    assert torch.allclose(ltx2.clock(50).float(), direct[0, 0], atol=1e-6)


@torch.no_grad()
def test_ltx2_is_causal(ltx2):
    """Sound after the end of a latent's window doesn't change it."""
    sound = toys.noise(24_000)
    changed = sound.clone()
    changed[..., 12_000:] *= -1
    a, b = ltx2.encode(sound), ltx2.encode(changed)
    # half a window (768 samples at 24 kHz) and the resampling filter are before the change
    reach = ltx2.latents(12_000 - 1024)
    assert torch.equal(a[:, : reach - 1], b[:, : reach - 1])
    assert not torch.equal(a[:, reach:], b[:, reach:])


@toys.few
@given(rate=st.sampled_from([8000, 16000, 22050, 24000, 48000]), samples=st.integers(1, 60_000))
def test_ltx2_uses_the_fewest_latents_and_has_their_clock(ltx2, rate, samples):
    """At any rate; latents last 10 ms, then 40 ms each."""
    codec = ltx2 if rate == 24000 else _at(rate)
    latents = codec.latents(samples)
    assert codec.samples(latents) >= samples
    assert latents == 1 or codec.samples(latents - 1) < samples
    clock = codec.clock(latents)
    lengths = torch.tensor([0.01] + [0.04] * (latents - 1), dtype=torch.float64)
    assert torch.allclose(clock[:, 1] - clock[:, 0], lengths, atol=1e-12)
    assert torch.equal(clock[1:, 0], clock[:-1, 1])
    assert abs(float(clock[-1, 1]) - codec.samples(latents) / rate) < 1 / rate


def _at(rate: int):
    with torch.device("meta"):
        return toys.ltx2().build(format=attrs.evolve(toys.AT_24K, sample_rate=rate))


@pytest.mark.parametrize("samples", [1, 100, 9000])
@pytest.mark.parametrize("rate", [8000, 22050])
def test_ltx2_accepts_any_sample_rate(rate, samples):
    """Decoded sound has the length of its latents."""
    codec = toys.build_sound(toys.ltx2(), attrs.evolve(toys.AT_24K, sample_rate=rate))
    latents = codec.encode(toys.noise(samples))
    assert latents.shape == (1, codec.latents(samples), codec.channels)
    assert codec.decode(latents).shape == (1, 1, codec.samples(latents.shape[1]))


def test_ltx2_is_counted_at_full_size_without_weights():
    """On the meta device: 25 latents per second of 8 x 16 numbers."""
    with torch.device("meta"):
        codec = LTX2Audio().build(format=toys.AT_24K)
    assert [
        sum(weight.numel() for weight in model.parameters()) for model in codec.frozen.models
    ] == [53_248_146, 55_592_802]
    assert codec.channels == 128
    assert codec.latents(5 * 24_000) == 126


def test_ltx2_refuses_mismatched_settings_and_shapes():
    """A vocoder of another rate, a wrong number of means, only one config, other shapes."""
    with pytest.raises(ValueError, match="240 samples at 16000 Hz per mel frame"):
        toys.ltx2(vocoder_config=toys.LTX_VOCODER | {"output_sampling_rate": 16000}).build(
            format=toys.AT_24K
        )
    with pytest.raises(ValueError, match="16 channels per latent, but means of 8"):
        toys.ltx2(config=toys.LTX_MEL | {"latent_channels": 4}).build(format=toys.AT_24K)
    with pytest.raises(ValueError, match="give both"):
        LTX2Audio(vocoder_config=toys.LTX_VOCODER)
    codec = toys.build_sound(toys.ltx2(), toys.AT_24K)
    with pytest.raises(ValueError, match="a waveform is floating point"):
        codec.encode(torch.zeros(1, 10))
    with pytest.raises(ValueError, match=r"3 channels of sound, .* set format.channels to 2, or"):
        toys.ltx2().build(format=attrs.evolve(toys.AT_24K, channels=3))
    with pytest.raises(ValueError, match="latents are"):
        codec.decode(torch.zeros(1, 0, 8))
