"""The contract of the sound codecs mmaudio-vae and ltx2-audio."""

from __future__ import annotations

import attrs
import diffusers_toys as toys
import pytest
import torch

from harmony_parts.codecs.protocol import AudioCodec
from harmony_parts.testing.contracts.codecs import check_audio_codec


@pytest.mark.parametrize(
    ("spec", "format"),
    [(toys.mmaudio(), toys.SOUND), (toys.ltx2(), toys.AT_24K)],
    ids=["mmaudio", "ltx2"],
)
def test_sound_codecs_are_deterministic_and_bounded_in_both_precisions(spec, format):
    """Also for mute and full-scale sound; bfloat16 is close to float32."""
    codec = toys.build_sound(spec, format)
    assert isinstance(codec, AudioCodec)
    for sound in (torch.zeros(1, 1, 500), torch.ones(1, 1, 500), toys.noise(500)):
        latents = codec.encode(sound)
        assert torch.equal(latents, codec.encode(sound))
        made = codec.decode(latents)
        assert made.isfinite().all()
        assert made.abs().max() <= 1
        assert torch.equal(made, codec.decode(latents))
    coarse = toys.build_sound(attrs.evolve(spec, precision="bfloat16"), format)
    near = coarse.encode(toys.noise(500))
    assert near.dtype == torch.float32
    assert 0 < (near - latents).abs().max() < 0.1 * latents.abs().max()
    assert coarse.decode(near).dtype == torch.float32


@pytest.mark.parametrize(
    ("spec", "format"),
    [(toys.mmaudio("16k"), toys.SOUND), (toys.ltx2(), toys.AT_24K)],
    ids=["mmaudio", "ltx2"],
)
def test_sound_codecs_pass_the_contract_check(spec, format):
    check_audio_codec(spec, format, seconds=0.5)
