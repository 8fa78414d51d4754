"""mmaudio-vae and ltx2-audio: their spectra against the formula in float64, latents and sound
against diffusers called directly.
"""

from __future__ import annotations

import math

import attrs
import diffusers_toys as toys
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harmony_diffusers.ltx2_audio import LTX2Audio
from harmony_diffusers.mel import MelSpectrum
from harmony_diffusers.mmaudio_vae import MMAudio
from harmony_parts.av import Format
from harmony_parts.codecs.protocol import AudioCodec
from harmony_parts.testing.contracts.codecs import check_audio_codec

# --- spectra --------------------------------------------------------------------------------------


def slaney(sample_rate: int, window: int, bands: int) -> np.ndarray:
    """librosa's filters from their definition: triangles even in Slaney's mel (linear to 1 kHz,
    then 27 to a factor of 6.4), of area 1.
    """

    def hertz(mel: np.ndarray) -> np.ndarray:
        return np.where(mel < 15, mel * 200 / 3, 1000 * 6.4 ** ((mel - 15) / 27))

    top = 15 + 27 * math.log(sample_rate / 2 / 1000) / math.log(6.4)
    corner = hertz(np.linspace(0, top, bands + 2))
    frequency = np.arange(window // 2 + 1) * sample_rate / window
    rising = (frequency - corner[:-2, None]) / np.diff(corner)[:-1, None]
    falling = (corner[2:, None] - frequency) / np.diff(corner)[1:, None]
    return np.maximum(0, np.minimum(rising, falling)) * (2 / (corner[2:] - corner[:-2]))[:, None]


def spectrum(
    sound: np.ndarray,
    sample_rate: int,
    window: int,
    hop: int,
    bands: int,
    margin: int,
    power: float,
) -> np.ndarray:
    """ln max(M sqrt(|X|^2 + power), 1e-5), [bands, frames], in float64."""
    mirrored = np.pad(sound, margin, mode="reflect")
    starts = range(0, len(mirrored) - window + 1, hop)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    magnitude = np.stack(
        [
            np.sqrt(np.abs(np.fft.rfft(mirrored[n : n + window] * hann)) ** 2 + power)
            for n in starts
        ],
        axis=1,
    )
    return np.log(np.maximum(slaney(sample_rate, window, bands) @ magnitude, 1e-5))


@pytest.mark.parametrize(
    ("sample_rate", "window", "hop", "bands", "margin", "power"),
    [
        (16000, 1024, 256, 80, 384, 1e-9),
        (44100, 2048, 512, 128, 768, 1e-9),
        (16000, 1024, 160, 64, 512, 0.0),
    ],
    ids=["MMAudio 16k", "MMAudio 44k", "LTX-2"],
)
def test_spectra_are_those_of_the_formula(sample_rate, window, hop, bands, margin, power):
    """Loud, faint and mute. Band edges are float32: 22 kHz x 2^-23 is 0.003 Hz of a band 40 Hz
    wide, so 1e-4 of its energy.
    """
    random = np.random.default_rng(0)
    sound = (
        random.uniform(-1, 1, sample_rate // 4)
        * np.repeat([1, 0.01, 0, 0.3, 1], -(-sample_rate // 20))[: sample_rate // 4]
    )
    sound = sound.astype(np.float32)
    made = MelSpectrum(sample_rate, window, hop, bands, margin=margin, power=power)(
        torch.from_numpy(sound)[None]
    )[0]
    wanted = spectrum(sound.astype(np.float64), sample_rate, window, hop, bands, margin, power)
    assert made.shape == wanted.shape
    assert np.abs(made.double().numpy() - wanted).max() < 1e-4


def test_mmaudio_spectra_are_those_of_diffusers():
    """The front end that diffusers has inside its autoencoder, for 44.1 kHz."""
    from diffusers.models.autoencoders.autoencoder_mmaudio import MMAudioMelSpectrogram

    sound = torch.rand(2, 20480, generator=torch.Generator().manual_seed(0)) * 2 - 1
    direct = MMAudioMelSpectrogram(44100, 2048, 128, 512)(sound)
    assert torch.allclose(
        MelSpectrum(44100, 2048, 512, 128, margin=768, power=1e-9)(sound), direct, atol=1e-4
    )


def test_ltx2_spectra_are_those_of_torchaudio():
    """With the settings with which others encode sound for LTX-2."""
    from torchaudio.transforms import MelSpectrogram

    sound = torch.rand(2, 8000, generator=torch.Generator().manual_seed(0)) * 2 - 1
    direct = MelSpectrogram(
        16000, n_fft=1024, hop_length=160, n_mels=64, power=1.0, norm="slaney", mel_scale="slaney"
    )(sound)
    made = MelSpectrum(16000, 1024, 160, 64, margin=512, power=0.0)(sound)
    assert torch.allclose(made, direct.clamp(min=1e-5).log(), atol=1e-5)


# --- MMAudio --------------------------------------------------------------------------------------


def noise(samples: int, batch: int = 1) -> torch.Tensor:
    """In [-1, 1]."""
    return torch.rand(batch, samples, generator=torch.Generator().manual_seed(0)) * 2 - 1


def build(spec: MMAudio | LTX2Audio, format: Format):
    """With means and deviations of the spectra and latents, which are 0 and 1 in a fresh model."""
    codec = spec.build(format=format)
    for name, scale in (
        ("data_mean", -1.0),
        ("data_std", 2.0),
        ("latents_mean", 0.1),
        ("latents_std", 1.5),
    ):
        if hasattr(codec._vae, name):
            buffer = getattr(codec._vae, name)
            buffer.copy_(
                scale + torch.rand(buffer.shape, generator=torch.Generator().manual_seed(1)) / 10
            )
    return codec


@pytest.fixture(scope="module", params=["16k", "44k"])
def mmaudio(request):
    return build(toys.mmaudio(request.param), toys.SOUND)


@torch.no_grad()
def test_mmaudio_is_that_of_diffusers(mmaudio):
    """Encoding and decoding, through diffusers' own classes; the 16 kHz form takes decimal
    logarithms and ends in a tanh.
    """
    from diffusers import MMAudioVAE, MMAudioVocoder
    from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

    whole = MMAudioVAE(**toys.MEL).eval()
    whole.vae.load_state_dict(mmaudio._vae.state_dict())
    sound = noise(1000, batch=2)
    padded = torch.nn.functional.pad(sound, (0, 24))
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
    assert made.shape == (2, 1024)
    if bias is None:
        assert torch.equal(made, vocoder(mel).sample[:, 0])
    else:
        before = {}
        vocoder.conv_post.register_forward_hook(lambda module, args, out: before.update(out=out))
        vocoder(mel)
        assert torch.allclose(made, torch.tanh(before["out"] + bias)[:, 0], atol=1e-6)


def test_mmaudio_scale():
    """Latents are multiplied, and what is decoded doesn't change."""
    plain, scaled = build(toys.mmaudio(), toys.SOUND), build(toys.mmaudio(scale=0.5), toys.SOUND)
    latents = plain.encode(noise(1000))
    assert torch.equal(scaled.encode(noise(1000)), latents * 0.5)
    assert torch.equal(scaled.decode(latents * 0.5), plain.decode(latents))


@toys.few
@given(samples=st.integers(1, 20_000))
def test_mmaudio_lengths_and_clock(mmaudio, samples):
    """As few latents as hold the samples; each two hops, one after the other."""
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
def test_mmaudio_at_full_size_without_weights(form, rate, vae, vocoder, channels, per_second):
    """Counted on the meta device. Five seconds of 16 kHz are Ovi's 157 latents."""
    with torch.device("meta"):
        codec = MMAudio(form=form).build(format=attrs.evolve(toys.SOUND, sample_rate=rate))
    assert [
        sum(weight.numel() for weight in model.parameters()) for model in codec.frozen.models
    ] == [vae, vocoder]
    assert codec.channels == channels
    assert float(1 / codec.clock(1)[0, 1]) == pytest.approx(per_second)
    assert form == "44k" or codec.latents(80_000) == 157


def test_mmaudio_refuses_what_does_not_fit():
    """Another rate, a vocoder of another hop, one config alone, no weights at all, latents and
    sounds of another shape.
    """
    with pytest.raises(
        ValueError, match=r"at 16000 Hz, but this autoencoder is for 4000 Hz.*format.sample_rate"
    ):
        toys.mmaudio().build(format=toys.VIDEO)
    with pytest.raises(ValueError, match="32 samples of a mel frame"):
        toys.mmaudio(vocoder_config=toys.VOCODER | {"upsample_rates": [8, 4]}).build(
            format=toys.SOUND
        )
    with pytest.raises(ValueError, match="give both"):
        MMAudio(config=toys.MEL)
    with pytest.raises(ValueError, match=r"`model` is empty.*convert_mmaudio"):
        MMAudio().build(format=toys.SOUND)
    codec = build(toys.mmaudio(), toys.SOUND)
    for wrong in (torch.zeros(10), torch.zeros(1, 10, dtype=torch.int16)):
        with pytest.raises(ValueError, match="a waveform is floating point"):
            codec.encode(wrong)
    with pytest.raises(ValueError, match="latents are"):
        codec.decode(torch.zeros(1, 3, 5))
    with pytest.raises(ValueError, match="at least one sample"):
        codec.latents(0)


# --- LTX-2 ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ltx2():
    return build(toys.ltx2(), toys.STEREO)


@torch.no_grad()
def test_ltx2_is_that_of_diffusers(ltx2):
    """From a mel spectrum on, packed and normalised as diffusers' pipeline does; the vocoder's
    stereo is folded into mono.
    """
    from diffusers import LTX2Pipeline
    from torchaudio.functional import resample

    vae = ltx2._vae
    sound = noise(12_000, batch=2)  # 0.5 s at 24 kHz: 50 mel frames, so 14 latents of 53
    padded = torch.nn.functional.pad(resample(sound, 24000, 16000), (0, 480))
    mel = MelSpectrum(16000, 1024, 160, 16, margin=512, power=0.0)(padded)[..., :53].transpose(1, 2)
    z = LTX2Pipeline._pack_audio_latents(vae.encode(torch.stack([mel, mel], 1)).latent_dist.mode())
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
    assert torch.equal(made, stereo.mean(1))


def test_ltx2_clock_is_that_of_diffusers(ltx2):
    """The seconds from which diffusers' LTX-2 makes the positions of sound latents (float32)."""
    from diffusers.models.transformers.transformer_ltx2 import LTX2AudioVideoRotaryPosEmbed

    positions = LTX2AudioVideoRotaryPosEmbed(
        dim=8, modality="audio", sampling_rate=16000, hop_length=160, scale_factors=(4,)
    )
    direct = positions.prepare_audio_coords(batch_size=1, num_frames=50, device=torch.device("cpu"))
    assert torch.allclose(ltx2.clock(50).float(), direct[0, 0], atol=1e-6)


@torch.no_grad()
def test_ltx2_is_causal(ltx2):
    """What comes after a latent, and after its window's end, doesn't change it."""
    sound = noise(24_000)
    changed = sound.clone()
    changed[:, 12_000:] *= -1
    a, b = ltx2.encode(sound), ltx2.encode(changed)
    # half a window, 768 samples of 24 kHz, and the resampling filter, lie before the change
    reach = ltx2.latents(12_000 - 1024)
    assert torch.equal(a[:, : reach - 1], b[:, : reach - 1])
    assert not torch.equal(a[:, reach:], b[:, reach:])


@toys.few
@given(rate=st.sampled_from([8000, 16000, 22050, 24000, 48000]), samples=st.integers(1, 60_000))
def test_ltx2_lengths_and_clock(ltx2, rate, samples):
    """At any rate: as few latents as hold the samples; 10 ms, then 40 ms each."""
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
        return toys.ltx2().build(format=attrs.evolve(toys.STEREO, sample_rate=rate))


@pytest.mark.parametrize("samples", [1, 100, 9000])
@pytest.mark.parametrize("rate", [8000, 22050])
def test_ltx2_takes_any_rate(rate, samples):
    """Sound of another rate goes in, and comes out as long as its latents."""
    codec = build(toys.ltx2(), attrs.evolve(toys.STEREO, sample_rate=rate))
    latents = codec.encode(noise(samples))
    assert latents.shape == (1, codec.latents(samples), codec.channels)
    assert codec.decode(latents).shape == (1, codec.samples(latents.shape[1]))


def test_ltx2_at_full_size_without_weights():
    """Counted on the meta device: 25 latents a second of 8 x 16 numbers."""
    with torch.device("meta"):
        codec = LTX2Audio().build(format=toys.STEREO)
    assert [
        sum(weight.numel() for weight in model.parameters()) for model in codec.frozen.models
    ] == [53_248_146, 55_592_802]
    assert codec.channels == 128
    assert codec.latents(5 * 24_000) == 126


def test_ltx2_refuses_what_does_not_fit():
    """A vocoder of another rate, means of another number, one config alone, other shapes."""
    with pytest.raises(ValueError, match="240 samples at 16000 Hz of a mel frame"):
        toys.ltx2(vocoder_config=toys.LTX_VOCODER | {"output_sampling_rate": 16000}).build(
            format=toys.STEREO
        )
    with pytest.raises(ValueError, match="16 channels in a latent, but means of 8"):
        toys.ltx2(config=toys.LTX_MEL | {"latent_channels": 4}).build(format=toys.STEREO)
    with pytest.raises(ValueError, match="give both"):
        LTX2Audio(vocoder_config=toys.LTX_VOCODER)
    codec = build(toys.ltx2(), toys.STEREO)
    with pytest.raises(ValueError, match="a waveform is floating point"):
        codec.encode(torch.zeros(10))
    with pytest.raises(ValueError, match="latents are"):
        codec.decode(torch.zeros(1, 0, 8))


@pytest.mark.parametrize(
    ("spec", "format"),
    [(toys.mmaudio(), toys.SOUND), (toys.ltx2(), toys.STEREO)],
    ids=["mmaudio", "ltx2"],
)
def test_sound_codecs_keep_the_contract(spec, format):
    """An AudioCodec; the same again; mute and full scale stay finite and in [-1, 1]; in bfloat16
    near what float32 gives.
    """
    codec = build(spec, format)
    assert isinstance(codec, AudioCodec)
    for sound in (torch.zeros(1, 500), torch.ones(1, 500), noise(500)):
        latents = codec.encode(sound)
        assert torch.equal(latents, codec.encode(sound))
        made = codec.decode(latents)
        assert made.isfinite().all()
        assert made.abs().max() <= 1
        assert torch.equal(made, codec.decode(latents))
    coarse = build(attrs.evolve(spec, precision="bfloat16"), format)
    near = coarse.encode(noise(500))
    assert near.dtype == torch.float32
    assert 0 < (near - latents).abs().max() < 0.1 * latents.abs().max()
    assert coarse.decode(near).dtype == torch.float32


@pytest.mark.parametrize(
    ("spec", "format"),
    [(toys.mmaudio("16k"), toys.SOUND), (toys.ltx2(), toys.STEREO)],
    ids=["mmaudio", "ltx2"],
)
def test_the_contract(spec, format):
    check_audio_codec(spec, format, seconds=0.5)
