"""Ports: where conditions enter, and which can't."""

from __future__ import annotations

import pytest
import torch
from helpers.small_denoiser import CODECS, B, at, inputs, nonzero

from harmony_parts.av import Condition
from harmony_parts.branches.mmdit import MMDiT
from harmony_parts.branches.video_transformer import VideoTransformer
from harmony_parts.codecs.dct import DCTVideo
from harmony_parts.denoisers.dual_branch import DualBranch
from harmony_parts.denoisers.protocol import Port
from harmony_parts.encoders.byte_text import ByteText
from harmony_parts.errors import AssemblyError
from harmony_parts.interaction.none import NoInteraction
from harmony_parts.testing.stand_ins import StubEncoder


def test_a_condition_without_a_port_is_named() -> None:
    with pytest.raises(AssemblyError, match=r"captoin.*'caption'"):
        DualBranch(layers=1, video=VideoTransformer(24, 2, 32, 1), audio=MMDiT(16, 2, 32)).build(
            codecs=CODECS, encoders={"x": StubEncoder(captoin=4)}
        )


def test_a_third_party_condition_enters_by_a_port() -> None:
    spec = DualBranch(
        layers=1,
        video=VideoTransformer(24, 2, 32, 1),
        audio=MMDiT(16, 2, 32),
        ports={"pose": Port("video", "context"), "mood": Port("audio", "add")},
    )
    denoiser = nonzero(
        spec.build(codecs=CODECS, encoders={"x": StubEncoder(pose=4, mood=3)})
    ).double()
    av, _ = inputs()
    g = torch.Generator().manual_seed(0)

    def condition(width: int) -> Condition:
        return Condition(
            torch.randn(B, 2, width, generator=g, dtype=torch.float64),
            torch.ones(B, 2, dtype=torch.bool),
        )

    conditions = {"pose": condition(4), "mood": condition(3)}
    out = denoiser(av, at(0.7, 0.7), conditions, hints={"isolate"})
    other = denoiser(av, at(0.7, 0.7), conditions | {"mood": condition(3)}, hints={"isolate"})
    assert torch.equal(out.video, other.video)
    assert not torch.allclose(out.audio, other.audio)


@pytest.mark.parametrize(
    ("ports", "fault"),
    [
        (
            {"caption": Port("audio", "clean_tokens")},
            "caption and voice would both be the clean tokens of the audio stream",
        ),
        (
            {"caption": Port("audio", "clean_tokens"), "voice": Port("audio", "context")},
            "8 channels; this condition has 6",
        ),
        ({"voice": Port("video", "clean_tokens")}, "image and voice would both"),
    ],
)
def test_clean_tokens_that_do_not_fit_are_refused(ports: dict[str, Port], fault: str) -> None:
    spec = DualBranch(
        layers=1, video=VideoTransformer(24, 2, 32, 1), audio=MMDiT(16, 2, 32), ports=ports
    )
    with pytest.raises(AssemblyError, match=fault):
        spec.build(codecs=CODECS, encoders={"x": StubEncoder(caption=6, image=12, voice=8)})


@pytest.mark.parametrize("how", ["context", "add"])
def test_latents_can_enter_as_context_or_be_added(how: str) -> None:
    spec = DualBranch(
        layers=1,
        video=VideoTransformer(24, 2, 32, 1),
        audio=MMDiT(16, 2, 32),
        interaction=NoInteraction(),
        ports={"image": Port("audio", how)},
    )
    denoiser = nonzero(spec.build(codecs=CODECS, encoders={"x": StubEncoder(image=12)})).double()
    av, conditions = inputs()
    other = Condition(conditions["image"].tokens + 1, conditions["image"].mask)
    one, two = (
        denoiser(av, at(0.7, 0.7), {"image": c}).audio for c in (conditions["image"], other)
    )
    masked = ~conditions["image"].mask[:, 0]
    assert torch.equal(one[masked], two[masked])
    assert not torch.allclose(one[~masked], two[~masked])


def test_settings_in_place_of_what_they_build_are_named() -> None:
    """Each of them, in what is put together by hand."""
    spec = DualBranch(layers=1, video=VideoTransformer(24, 2, 32, 1), audio=MMDiT(16, 2, 32))
    with pytest.raises(AssemblyError) as error:
        spec.build(codecs=CODECS.replace(video=DCTVideo()), encoders={"caption": ByteText()})
    video, caption = error.value.faults
    assert video.startswith("codecs.video: DCTVideo(")
    assert caption.startswith("encoders.caption: ByteText(")
    assert video.endswith("are settings; pass what their `build` makes")
    with pytest.raises(AssemblyError, match="expected a mapping of names to encoders, not a list"):
        spec.build(codecs=CODECS, encoders=[StubEncoder(caption=4)])


def test_what_is_no_port_is_named() -> None:
    spec = DualBranch(
        layers=1,
        video=VideoTransformer(24, 2, 32, 1),
        audio=MMDiT(16, 2, 32),
        ports={"mood": {"stream": "video", "how": "add"}},
    )
    with pytest.raises(AssemblyError, match=r"\.ports\.mood: expected Port\(stream, how\), not {"):
        spec.build(codecs=CODECS, encoders={"x": StubEncoder(mood=3)})
    with pytest.raises(
        ValueError, match=r"^'stream' must be in \('video', 'audio'\) \(got 'both'\)$"
    ):
        Port("both", "add")
