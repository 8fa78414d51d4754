"""The contract checks of codecs accept the built-in ones and find every way to break them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import attrs
import pytest
import torch
from torch import nn

from harmony_parts.av import Format
from harmony_parts.codecs.dct import DCTVideo
from harmony_parts.codecs.logmel import LogMel
from harmony_parts.errors import PartContractError
from harmony_parts.testing.contracts.codecs import check_audio_codec, check_video_codec

FORMAT = Format(fps="24000/1001", height=32, width=48, sample_rate=8000, seconds=1.0)


@pytest.mark.parametrize(
    "spec",
    [DCTVideo(), DCTVideo(block=8, frames_per_latent=1, keep=40), DCTVideo(block=16)],
    ids=repr,
)
def test_built_in_video_codecs_pass(spec: DCTVideo) -> None:
    check_video_codec(spec, FORMAT)


@pytest.mark.parametrize(
    "spec",
    [LogMel(), LogMel(latents_per_second=30.0, hops_per_latent=2, bands=16, overlap=3)],
    ids=repr,
)
def test_built_in_audio_codecs_pass(spec: LogMel) -> None:
    check_audio_codec(spec, FORMAT)


@attrs.frozen
class Broken:
    """A codec with one method replaced."""

    inner: Any
    method: str
    other: Callable[[Any], Any]

    def build(self, *, format: Format) -> Any:
        """The inner codec, with the fault."""
        codec = self.inner.build(format=format)
        setattr(codec, self.method, self.other(getattr(codec, self.method)))
        return codec


@pytest.mark.parametrize(
    ("method", "other", "must"),
    [
        ("latents", lambda real: lambda n: max(1, real(n) - 1), "decode to at least"),
        ("clock", lambda real: lambda n: real(n).float(), "a clock of float64"),
        ("clock", lambda real: lambda n: real(n).flip(0), "never decrease"),
        ("clock", lambda real: lambda n: real(n) / 2, "covers all"),
        ("encode", lambda real: lambda x: real(x).double(), "encode to finite float32"),
        (
            "encode",
            lambda real: lambda x: real(x) + torch.rand(()),
            "from torch's global one|encode the same input to the same latents",
        ),
        ("encode", lambda real: lambda x: real(x) * (1 + len(x)), "encode each clip independently"),
        ("decode", lambda real: lambda z: real(z)[:, 1:], "decode to"),
    ],
)
@pytest.mark.parametrize(
    ("spec", "check"),
    [(DCTVideo(), check_video_codec), (LogMel(), check_audio_codec)],
    ids=["video", "audio"],
)
def test_a_broken_codec_is_rejected(
    spec: Any, check: Any, method: str, other: Any, must: str
) -> None:
    with pytest.raises(PartContractError, match=must):
        check(Broken(spec, method, other), FORMAT)


STEREO = attrs.evolve(FORMAT, channels=2)


@attrs.frozen
class BrokenStereo:
    """LogMel, whose stereo codec has one method replaced; its mono codec is right."""

    method: str
    other: Callable[[Any], Any]

    def build(self, *, format: Format) -> Any:
        """The codec, with the fault if the format is stereo."""
        spec = LogMel(bands=16)
        whole = Broken(spec, self.method, self.other) if format.channels == 2 else spec
        return whole.build(format=format)


def mixed(*rows: tuple[float, float]) -> Callable[[Any], Any]:
    """A method whose result's channels are these sums of the right ones."""
    weights = torch.tensor(rows, dtype=torch.float32)
    return lambda real: lambda x: torch.einsum("oc,bcn->bon", weights, real(x))


@pytest.mark.parametrize(
    ("other", "must"),
    [
        (mixed((0, 1), (1, 0)), "keep the level .* on the left became -80"),
        (mixed((0.5, 0.5), (0.5, 0.5)), "keep the level .* on the left became -17"),
        (mixed((1, 0), (1, 0)), "keep the level .* on the right became -80"),
        (mixed((1, 0), (0, 0.5)), "keep the level .* on the right became -27"),
        (mixed((1, 0), (0.3, 1)), "keep left and right apart: sound on the right is only"),
        (lambda real: lambda x: real(x)[:, :1], r"decode to finite float32 \[2, 2, "),
    ],
    ids=["exchanged", "mean", "left on both", "quiet right", "leak", "mono"],
)
@pytest.mark.parametrize("format", [FORMAT, STEREO], ids=["mono", "stereo"])
def test_a_codec_with_broken_stereo_is_rejected(other: Any, must: str, format: Format) -> None:
    """Whether the given format is stereo or not."""
    with pytest.raises(PartContractError, match=must):
        check_audio_codec(BrokenStereo("decode", other), format)


@attrs.frozen
class OnlyMono:
    """A codec that refuses more than one channel."""

    def build(self, *, format: Format) -> Any:
        """LogMel's codec."""
        if format.channels != 1:
            raise ValueError("this codec is for mono sound")
        return LogMel().build(format=format)


def test_a_codec_may_refuse_a_number_of_channels() -> None:
    """But not that of the given format."""
    assert check_audio_codec(OnlyMono(), FORMAT).sound_channels == 1
    with pytest.raises(ValueError, match="for mono"):
        check_audio_codec(OnlyMono(), STEREO)


def test_the_codec_states_the_channels_of_its_sound() -> None:
    @attrs.frozen
    class Wrong:
        def build(self, *, format: Format) -> Any:
            codec = LogMel().build(format=format)
            codec.sound_channels = 3
            return codec

    with pytest.raises(PartContractError, match="have the format's 1 channels in"):
        check_audio_codec(Wrong(), FORMAT)


@attrs.frozen
class WithWeights:
    """A codec with weights, some of which it lists in `external_modules`."""

    external_modules: Any

    def build(self, *, format: Format) -> Any:
        """The cosine codec, with two modules that own weights."""
        codec: Any = DCTVideo().build(format=format)
        with torch.random.fork_rng(devices=[]):
            codec.encoder, codec.decoder = nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2))
        codec.external_modules = self.external_modules(codec)
        return codec


@pytest.mark.parametrize(
    ("external_modules", "must"),
    [
        (lambda codec: (codec.encoder, codec.decoder), ""),
        (lambda codec: (nn.ModuleList([codec.encoder, codec.decoder[0]]),), ""),
        (lambda codec: (codec.encoder,), "list in `external_modules` .* 'decoder' is missing"),
        (lambda codec: (), "list in `external_modules` .* 'encoder' is missing"),
        (lambda codec: codec.encoder, "have in `external_modules` a tuple of torch modules"),
        (
            lambda codec: ("encoder", "decoder"),
            "have in `external_modules` a tuple of torch modules",
        ),
    ],
)
def test_all_modules_with_weights_must_be_listed(external_modules: Any, must: str) -> None:
    """On a CPU nothing else finds this: a module that isn't listed isn't moved to a GPU."""
    with pytest.raises(PartContractError, match=must) if must else nullcontext():
        check_video_codec(WithWeights(external_modules), FORMAT)
