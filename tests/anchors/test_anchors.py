"""Silence and static video, with the built-in codecs."""

from __future__ import annotations

from typing import Any, Literal

import attrs
import pytest
import torch
from helpers.toy_guidance import codecs

from harmony_parts.anchors.mute import MuteAudio
from harmony_parts.anchors.protocol import Anchor, Scene
from harmony_parts.anchors.static import StaticVideo
from harmony_parts.av import AV, Condition, Format
from harmony_parts.codecs.dct import DCTVideo
from harmony_parts.codecs.logmel import LogMel
from harmony_parts.errors import PartContractError
from harmony_parts.testing.contracts.anchors import check_anchor

CODECS = codecs()
T_V, T_A = 3, 20


def pictures(n: int, seed: int = 0) -> torch.Tensor:
    """Smooth random pictures, uint8 [n, 1, 16, 16, 3], which the codec doesn't clip."""
    coarse = torch.rand(n, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    return (
        (torch.nn.functional.interpolate(coarse, 16, mode="bilinear") * 96 + 80)
        .to(torch.uint8)
        .permute(0, 2, 3, 1)[:, None]
    )


def reference(having: list[bool]) -> dict[str, Condition]:
    """An image condition as the reference-image encoder makes it, for the samples of `having`."""
    mask = torch.tensor(having)[:, None]
    tokens = CODECS["video"].encode(pictures(len(having)))
    null = torch.zeros_like(tokens)
    return {
        "image": Condition(
            tokens.where(mask[..., None, None, None], null),
            mask,
            Condition(null, torch.zeros_like(mask)),
        )
    }


def scene(conditions: dict[str, Condition] | None = None, n: int = 4, seed: int = 0) -> Scene:
    """A scene with noise as latents and moving clips as the estimate."""
    codec = CODECS["video"]
    random = torch.Generator().manual_seed(seed)
    first = pictures(n, seed + 10)
    moving = torch.cat([first.roll(k, dims=3) for k in range(codec.frames(T_V))], dim=1)
    latents = AV(
        torch.randn(n, T_V, *codec.grid, codec.channels, generator=random),
        torch.randn(n, T_A, CODECS["audio"].channels, generator=random),
    )
    return Scene(CODECS, latents, conditions or {}, AV(codec.encode(moving), latents["audio"]))


def test_built_in_anchors_keep_the_contract() -> None:
    check_anchor(MuteAudio(), CODECS)
    check_anchor(StaticVideo(), CODECS)
    check_anchor(StaticVideo(), CODECS, conditions=reference([True, False, False, True]))
    check_anchor(StaticVideo(), CODECS, video=1, conditions=reference([True] * 4))


def test_mute_audio_is_the_codec_s_silence() -> None:
    codec = CODECS["audio"]
    latents = MuteAudio().latents(scene())
    assert torch.equal(latents[0], codec.encode(torch.zeros(1, 1, codec.samples(T_A)))[0])
    noise = torch.randn(4, 1, codec.samples(T_A), generator=torch.Generator().manual_seed(0)) * 1e-3
    # quieter, in every band and at every time, than noise at -60 dB
    assert (latents < codec.encode(noise)).all()


def test_mute_audio_has_the_formats_channels() -> None:
    stereo = LogMel().build(
        format=Format(fps=12, height=16, width=16, sample_rate=8000, seconds=1, channels=2)
    )
    codecs = AV(CODECS["video"], stereo)
    check_anchor(MuteAudio(), codecs)
    shape = (4, T_A, stereo.channels)
    latents = MuteAudio().latents(Scene(codecs, AV(None, torch.zeros(shape)), {}, None))
    assert latents.shape == shape
    assert latents.min() == latents.max()  # silence is one value in log-mel


@attrs.define
class RecordingCodec:
    """A codec that records its inputs; a latent of it holds a frame and its negative."""

    codec: Any
    seen: list[torch.Tensor] = attrs.field(factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.codec, name)

    def encode(self, given: torch.Tensor) -> torch.Tensor:
        self.seen.append(given)
        return self.codec.encode(given)

    def decode(self, given: torch.Tensor) -> torch.Tensor:
        self.seen.append(given)
        frames = self.codec.decode(given)
        return torch.cat([frames, 255 - frames], dim=1)


def test_inputs_of_the_codecs() -> None:
    """Silence is zeros over the whole length. Of the video, only the latents of one frame are
    decoded, and that frame is repeated over the length of the clip.
    """
    now = scene()
    recording = AV(RecordingCodec(CODECS["video"]), RecordingCodec(CODECS["audio"]))
    recorded = attrs.evolve(now, codecs=recording)
    MuteAudio().latents(recorded)
    (silence,) = recording["audio"].seen
    assert torch.equal(silence, torch.zeros(1, 1, CODECS["audio"].samples(T_A)))
    StaticVideo().latents(recorded)
    decoded, encoded = recording["video"].seen
    assert now.estimate is not None
    assert torch.equal(decoded, now.estimate["video"][:, :1])
    assert encoded.shape[1] == CODECS["video"].frames(T_V)
    assert torch.equal(encoded, CODECS["video"].decode(decoded).expand_as(encoded))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("anchor", [MuteAudio(), StaticVideo()])
def test_anchors_have_the_dtype_of_the_latents(anchor: Anchor, dtype: torch.dtype) -> None:
    now = scene(reference([True, False, True, True]))
    assert (
        anchor.latents(attrs.evolve(now, latents=now.latents.map(lambda x: x.to(dtype)))).dtype
        == dtype
    )


@pytest.mark.parametrize("having", [[True] * 4, [False] * 4, [True, False, False, True]], ids=str)
def test_static_video_repeats_one_picture(having: list[bool]) -> None:
    """Every frame is the reference image or the estimate's first frame, to the codec's loss."""
    codec, now = CODECS["video"], scene(reference(having))
    assert now.estimate is not None
    frames = codec.decode(StaticVideo().latents(now)).int()
    assert (frames - frames[:, :1]).abs().max() <= 1  # rounding to 8 bits
    estimate = codec.decode(now.estimate["video"])[:, :1].int()
    image = codec.decode(reference([True] * 4)["image"].tokens)[:, :1].int()
    # The codec keeps fixed coefficients, so coding a decoded picture again loses only rounding.
    want = torch.where(torch.tensor(having)[:, None, None, None, None], image, estimate)
    assert (frames[:, :1] - want).abs().max() <= 2


def test_static_video_can_be_the_mean_frame() -> None:
    """The mean over the frames of the estimate; a reference image isn't affected."""
    codec, now = CODECS["video"], scene()
    assert now.estimate is not None
    mean = codec.decode(now.estimate["video"]).float().mean(1, keepdim=True)
    frames = codec.decode(StaticVideo(frame="mean").latents(now)).float()
    assert (frames - frames[:, :1]).abs().max() <= 1  # rounding to 8 bits
    coded = codec.decode(codec.encode(mean.round().to(torch.uint8))).float()
    assert (frames - coded[:, :1]).abs().max() <= 2
    assert (frames[:, :1] - codec.decode(StaticVideo().latents(now))[:, :1]).abs().max() > 10
    images = scene(reference([True] * 4))
    assert torch.equal(StaticVideo(frame="mean").latents(images), StaticVideo().latents(images))
    check_anchor(StaticVideo(frame="mean"), CODECS)


@pytest.mark.parametrize("frame", ["first", "mean"])
def test_a_latent_of_one_frame_can_be_repeated(frame: Literal["first", "mean"]) -> None:
    """Nothing is decoded, and the result equals decoding and encoding again, to 8 bits and the
    codec's loss.
    """
    form = Format(fps=12, height=16, width=16, sample_rate=8000, seconds=0.5)
    codec = DCTVideo(frames_per_latent=1, keep=0, whiten=0.0).build(format=form)
    first = pictures(2)
    moving = torch.cat([first.roll(k, dims=3) for k in range(4)], dim=1)
    latents = codec.encode(moving)
    now = Scene(
        CODECS.replace(video=codec),
        AV(torch.zeros_like(latents), torch.zeros(2, T_A, 4)),
        {},
        AV(latents),
    )
    static = StaticVideo(frame=frame, repeat="latent").latents(now)
    with pytest.raises(PartContractError, match="two latents of this codec hold 5 frames"):
        StaticVideo(frame=frame, repeat="latent").latents(scene())
    want = latents[:, :1] if frame == "first" else latents.mean(1, keepdim=True)
    assert torch.equal(static, want.expand_as(latents))
    picture = moving[:, :1] if frame == "first" else moving.float().mean(1, keepdim=True)
    assert (codec.decode(static).float() - picture).abs().max() <= 1


def test_samples_are_independent() -> None:
    """Samples with and without a reference image can share a batch."""
    mixed = StaticVideo().latents(scene(reference([True, False, True, False])))
    images = StaticVideo().latents(scene(reference([True] * 4)))
    estimates = StaticVideo().latents(scene())
    assert torch.allclose(mixed[[0, 2]], images[[0, 2]], atol=1e-5)
    assert torch.allclose(mixed[[1, 3]], estimates[[1, 3]], atol=1e-5)


def test_faults_are_named() -> None:
    now = scene()
    with pytest.raises(PartContractError, match="needs the clean estimate"):
        StaticVideo().latents(Scene(CODECS, now.latents, {}))
    with pytest.raises(PartContractError, match="needs the clean estimate"):
        StaticVideo().latents(Scene(CODECS, now.latents, {}, AV(audio=now.latents["audio"])))
    words = {"image": Condition(torch.zeros(4, 7, 5), torch.ones(4, 7, dtype=torch.bool))}
    with pytest.raises(PartContractError, match=r"StaticVideo\(image="):
        StaticVideo().latents(Scene(CODECS, now.latents, words, now.estimate))
    assert now.estimate is not None
    other = StaticVideo(image="first_frame").latents(
        Scene(CODECS, now.latents, words, now.estimate)
    )
    assert torch.equal(other, StaticVideo().latents(now))


def test_the_contract_check_finds_changes_of_the_scene() -> None:
    """The scene holds the sampler's own latents."""

    @attrs.frozen
    class Wiped:
        stream = "video"
        from_estimate = False

        def latents(self, scene: Scene) -> torch.Tensor:
            return scene.latents["video"].zero_()

    with pytest.raises(PartContractError, match="not change the scene"):
        check_anchor(Wiped(), CODECS)


def test_the_contract_check_names_what_is_no_tensor() -> None:
    @attrs.frozen
    class Forgets:
        stream = "video"
        from_estimate = False

        def latents(self, scene: Scene) -> None:
            torch.zeros_like(scene.latents["video"])

    with pytest.raises(PartContractError, match="a tensor of latents, not a NoneType"):
        check_anchor(Forgets(), CODECS)
